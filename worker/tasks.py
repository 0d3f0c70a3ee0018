"""The one task: a message says that there is work, and names a job that was queued."""

from uuid import UUID

from service.broker import TASK_NAME
from worker import supervisor
from worker.app import app, current_runtime


@app.task(name=TASK_NAME)
def run_job(job_id: str) -> None:
    """Run the most urgent job there is; doubled, late and lost messages do no harm."""
    runtime = current_runtime()
    if not runtime.stopping.is_set():  # an unclaimed job is sent again
        supervisor.run_next(runtime, UUID(job_id))
