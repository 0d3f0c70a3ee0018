"""Wake-ups leave after the commit that wrote them, at least once; a rollback drops them."""

import uuid
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import now
from service.tables import Outbox


def dispatch(session: Session, send: Callable[[uuid.UUID], None], limit: int = 50) -> int:
    """Send the wake-ups that are due, oldest first, mark them as sent, and return how many.

    Several dispatchers share the work on PostgreSQL, which skips the rows that another one holds.
    If sending fails, nothing is marked and all of them are sent again.
    """
    moment = now(session)
    query = (
        select(Outbox)
        .where(Outbox.sent_at.is_(None), Outbox.send_after <= moment)
        .order_by(Outbox.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = session.scalars(query).all()
    for row in rows:
        send(row.job_id)
        row.sent_at = moment
    session.flush()
    return len(rows)
