"""The one task: run the job that a message names."""

from uuid import UUID

from service.broker import TASK_NAME
from worker import supervisor
from worker.app import app, current_runtime


@app.task(name=TASK_NAME)
def run_job(job_id: str) -> None:
    """Run a job unless another worker has it or it has ended; doubled messages do no harm."""
    runtime = current_runtime()
    if not runtime.stopping.is_set():  # an unclaimed job is sent again
        supervisor.run_job(runtime, UUID(job_id))
