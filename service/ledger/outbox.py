"""Wake-ups leave after the commit that wrote them, at least once; a rollback drops them."""

import uuid
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import now
from service.origins import Origin, bound
from service.tables import Job, Outbox


def dispatch(session: Session, send: Callable[[uuid.UUID], None], limit: int = 50) -> int:
    """Send the wake-ups that are due, oldest first, mark them as sent, and return how many.

    While one is sent its job's origin and run are bound to the context, for the message's headers.

    Several dispatchers share the work on PostgreSQL, which skips the rows that another one holds.
    If sending fails, nothing is marked and all of them are sent again.
    """
    moment = now(session)
    query = (
        select(Outbox, Job)
        .join(Job, Job.id == Outbox.job_id)
        .where(Outbox.sent_at.is_(None), Outbox.send_after <= moment)
        .order_by(Outbox.id)
        .limit(limit)
        .with_for_update(of=Outbox, skip_locked=True)
    )
    rows = session.execute(query).all()
    for row, job in rows:
        with bound(Origin(job.origin, job.traceparent), run_id=job.run_id):
            send(row.job_id)
        row.sent_at = moment
    session.flush()
    return len(rows)
