"""Workers without the fence, for the test of the test: no setting leads here, only this module.

Their ledger takes every write for the holder's, and a lease that was lost is renewed as if it were
not. With them the suite has to find that jobs were done twice.
"""

from typing import Literal

from sqlalchemy.orm import Session

from service import ledger
from service.ledger import Claim, completing, jobs
from service.tables import Job, JobStatus
from worker import renewal
from worker.app import app

__all__ = ["app"]


def _unfenced(session: Session, claim: Claim) -> Job | None:
    """Return the job whoever holds it, as if it still ran."""
    job = jobs._in_turn(session, claim.job_id)
    if job is not None:
        job.status = JobStatus.RUNNING
    return job


def _renew(_session: Session, _claim: Claim, *_: object) -> Literal["ok"]:
    return "ok"


for module in (jobs, completing):
    vars(module)["fenced"] = _unfenced
vars(ledger)["renew"] = _renew
vars(renewal)["Renewal"].answer = property(lambda self: self._answer)
