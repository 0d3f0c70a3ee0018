"""How much of each thing one tenant may have at a time; the settings `EXPUNGE_QUOTA_…` say."""

from sqlalchemy import ColumnElement, exists, literal, select
from sqlalchemy.orm import Session

from service.database import limits
from service.errors import Conflict
from service.tables import Base


def check_quota(
    session: Session, name: str, table: type[Base], *wanted: ColumnElement[bool]
) -> None:
    """Refuse one thing more when as many as the quota of that name fulfil the conditions.

    Exact only under the tenant's turn (`take_turn`). Reads at most the quota's number of rows.

    Raises:
        Conflict: code `quota_exceeded`, with `quota` and `limit`.
    """
    most = limits(session).quotas.get(name, 0)
    if most == 0:
        return
    last = select(literal(1)).select_from(table).where(*wanted).offset(most - 1).limit(1)
    if session.scalar(select(exists(last))):
        detail = f"This tenant may have {most} {name.replace('_', ' ')}, and has them."
        raise Conflict("quota_exceeded", detail, quota=name, limit=most)
