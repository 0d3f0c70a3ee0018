"""How much of each thing one tenant may have at a time; the settings `EXPUNGE_QUOTA_…` say."""

from typing import NoReturn

from sqlalchemy import Boolean, ColumnElement, Integer, and_, bindparam, exists, literal, select
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
    asked = quota_asked(session, name)
    if asked["limited"] and session.scalar(select(quota_reached(table, *wanted)), asked):
        refuse_full(session, name)


def quota_reached(table: type[Base], *wanted: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether a quota is reached, as a column with the parameters of `quota_asked`."""
    last = select(literal(1)).select_from(table).where(*wanted)
    last = last.offset(bindparam("others", type_=Integer)).limit(1)
    return and_(bindparam("limited", type_=Boolean), exists(last))


def quota_asked(session: Session, name: str) -> dict[str, object]:
    """Return the parameters of `quota_reached` for the quota of this name."""
    most = limits(session).quotas.get(name, 0)
    return {"limited": most > 0, "others": max(0, most - 1)}


def refuse_full(session: Session, name: str) -> NoReturn:
    """Raise what `check_quota` raises."""
    most = limits(session).quotas[name]
    detail = f"This tenant may have {most} {name.replace('_', ' ')}, and has them."
    raise Conflict("quota_exceeded", detail, quota=name, limit=most)
