"""What a monitor wants to know of the ledger: counts and ages over all tenants, never an id."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from service.database import now
from service.ledger.reading import OPEN
from service.tables import (
    DeletionRequest,
    Job,
    JobStatus,
    Outbox,
    Reference,
    ReferenceState,
    WebhookDelivery,
)

DUE = {"overdue": 0, "3_days": 3, "7_days": 7, "14_days": 14, "30_days": 30}
"""How much time open requests have left: upper bounds in days; what has more is `later`."""
LATER = "later"


@dataclass(frozen=True)
class Figures:
    """The state of the queue and of the duties; ages in seconds, 0 where nothing waits.

    Attributes:
        jobs: Number of jobs by kind and status.
        failures: Failures counted against the retry budget, lost leases among them, by kind.
        lost_leases: Attempts whose lease ran out and whose job was taken from them, by kind.
        silent: Running jobs whose lease has run out and that nobody has taken up yet.
        queue_age_s: Since when the oldest job that could run has been waiting.
        outbox_lag_s: Since when the oldest wake-up that is due has been waiting.
        outbox_due: Number of wake-ups that are due.
        open_requests: Open requests by the time they have left, as in `DUE`.
        unneeded_references: References that no run needs and that are not purged yet.
        deliveries_due: Webhook deliveries that are due.
    """

    jobs: Mapping[tuple[str, str], int]
    failures: Mapping[str, int]
    lost_leases: Mapping[str, int]
    silent: int
    queue_age_s: float
    outbox_lag_s: float
    outbox_due: int
    open_requests: Mapping[str, int]
    unneeded_references: int
    deliveries_due: int


def ledger_figures(session: Session) -> Figures:
    """Return the figures as the database has them now."""
    moment = now(session)
    jobs = session.execute(
        select(
            Job.kind,
            Job.status,
            func.count(),
            func.sum(Job.failures),
            func.sum(Job.lost_leases),
        ).group_by(Job.kind, Job.status)
    ).all()
    failures, lost = Counter[str](), Counter[str]()
    for kind, _, _, failed, lapsed in jobs:
        failures[str(kind)] += int(failed)
        lost[str(kind)] += int(lapsed)
    ready = (Job.status == JobStatus.QUEUED) & (
        Job.not_before.is_(None) | (Job.not_before <= moment)
    )
    silent = (Job.status == JobStatus.RUNNING) & (Job.lease_expires_at < moment)
    unsent = Outbox.sent_at.is_(None) & (Outbox.send_after <= moment)
    unneeded = (Reference.state == ReferenceState.READY) & Reference.unneeded_since.is_not(None)
    queued_at = func.coalesce(Job.not_before, Job.created_at)
    return Figures(
        jobs={(str(kind), str(status)): count for kind, status, count, _, _ in jobs},
        failures=failures,
        lost_leases=lost,
        silent=_count(session, silent),
        queue_age_s=_age(moment, session.scalar(select(func.min(queued_at)).where(ready))),
        outbox_lag_s=_age(
            moment, session.scalar(select(func.min(Outbox.send_after)).where(unsent))
        ),
        outbox_due=_count(session, unsent),
        open_requests=_open_requests(session, moment),
        unneeded_references=_count(session, unneeded),
        deliveries_due=_count(session, WebhookDelivery.next_attempt_at <= moment),
    )


def _open_requests(session: Session, moment: datetime) -> dict[str, int]:
    bounds = [
        (DeletionRequest.due_at < moment + timedelta(days=days), name) for name, days in DUE.items()
    ]
    left = case(*bounds, else_=LATER).label("left")
    query = select(left, func.count()).where(DeletionRequest.status.in_(OPEN)).group_by(left)
    found = {str(name): int(count) for name, count in session.execute(query)}
    return {name: found.get(name, 0) for name in (*DUE, LATER)}


def _count(session: Session, wanted: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).where(wanted)) or 0


def _age(moment: datetime, since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (moment - since).total_seconds())
