"""The one task: a message says that there is work, and names a job that was queued."""

from uuid import UUID

import structlog
from celery import Task

from service.broker import HEADER, LOG_HEADERS, TASK_NAME
from worker import supervisor
from worker.app import app, current_runtime


@app.task(name=TASK_NAME, bind=True)
def run_job(self: Task, job_id: str) -> None:
    """Run the most urgent job there is; doubled, late and lost messages do no harm."""
    runtime = current_runtime()
    carried = (self.request.headers or {}).get(HEADER) or {}
    ids = {name: str(carried[name]) for name in LOG_HEADERS if name in carried}
    with structlog.contextvars.bound_contextvars(woken_by=job_id, **ids):
        if not runtime.stopping.is_set():  # an unclaimed job is sent again
            supervisor.run_next(runtime, UUID(job_id))
