"""Creating calls that a caller named happen once, however often they are sent.

A key is taken in a transaction of its own; the answer is kept in the transaction that creates, so
that either both are there or neither. A call at work renews its lock; one whose process died leaves
a key that is locked until `LOCK_S` have passed; then the next one takes it over and the first
could keep nothing any more.
"""

import hashlib
import hmac
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.database import now
from service.errors import Conflict, Unprocessable
from service.ledger.orders import Caller
from service.tables import IdempotencyKey, new_id

LOCK_S = 300.0
_PARTS = ("tenant_id", "route", "key_digest")


@dataclass(frozen=True)
class NamedCall:
    """A call as it came in: `route` with its placeholders, `path` without, digest of the body."""

    route: str
    path: str
    key: str
    body_digest: str

    @property
    def key_digest(self) -> str:
        """Return what is stored for the key."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Return the HMAC of path and body under the key."""
        message = f"{self.path}\n{self.body_digest}".encode()
        return hmac.new(self.key.encode(), message, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class HeldCall:
    """The right to answer a named call; `attempt` fences."""

    id: uuid.UUID
    attempt: int


@dataclass(frozen=True)
class KeptAnswer:
    """The answer that a named call got."""

    status_code: int
    headers: dict[str, str]
    body: bytes


def begin_call(
    session: Session, caller: Caller, call: NamedCall, keep_days: float
) -> HeldCall | KeptAnswer:
    """Take a key, or return the answer that its first call got.

    Raises:
        Conflict: `idempotency_key_in_use`: the first call is not answered yet.
        Unprocessable: `idempotency_key_reused`: it had another body.
    """
    moment = now(session)
    lock = moment + timedelta(seconds=LOCK_S)
    ends = moment + timedelta(days=keep_days)
    names = {"tenant_id": caller.tenant_id, "route": call.route, "key_digest": call.key_digest}
    fresh = {"fingerprint": call.fingerprint, "locked_until": lock, "expires_at": ends}
    made = _insert_once(session, {"id": new_id(), "attempt": 1, **names, **fresh})
    if made is not None:
        return HeldCall(made, 1)
    row = session.scalar(select(IdempotencyKey).filter_by(**names))
    if row is None:
        raise _in_use()  # it was given up a moment ago
    over = row.expires_at <= moment
    if not over and not hmac.compare_digest(row.fingerprint, call.fingerprint):
        detail = "This Idempotency-Key came with another body before."
        errors = [{"pointer": "/header/Idempotency-Key", "detail": detail}]
        raise Unprocessable("idempotency_key_reused", detail, errors)
    if not over and row.status_code is not None:
        return KeptAnswer(row.status_code, row.headers or {}, row.body or b"")
    if not over and row.locked_until > moment:
        raise _in_use()
    return _take_over(session, row, fresh)


def keep_answer(session: Session, held: HeldCall, answer: KeptAnswer) -> None:
    """Keep the answer with what the present transaction creates.

    Raises:
        Conflict: `idempotency_key_in_use`: another call has taken over, so nothing may be created.
    """
    values = {
        "status_code": answer.status_code,
        "headers": answer.headers,
        "body": answer.body,
    }
    changed = session.execute(update(IdempotencyKey).where(*_mine(held)).values(values))
    if cast("CursorResult[Any]", changed).rowcount != 1:
        raise _in_use()


def renew_call(session: Session, held: HeldCall) -> bool:
    """Lock a key for `LOCK_S` more; return whether it is still this call's and not answered yet."""
    lock = now(session) + timedelta(seconds=LOCK_S)
    changed = session.execute(update(IdempotencyKey).where(*_mine(held)).values(locked_until=lock))
    return cast("CursorResult[Any]", changed).rowcount == 1


def drop_call(session: Session, held: HeldCall) -> None:
    """Give a key back whose call was refused or failed: nothing was created under it."""
    session.execute(delete(IdempotencyKey).where(*_mine(held)))


def purge_calls(session: Session) -> int:
    """Delete keys whose time is over and return how many."""
    gone = session.execute(delete(IdempotencyKey).where(IdempotencyKey.expires_at <= now(session)))
    return cast("CursorResult[Any]", gone).rowcount


def _insert_once(session: Session, values: dict[str, Any]) -> uuid.UUID | None:
    """Insert unless there is such a key; without waiting for the call that holds it."""
    on_postgres = session.get_bind().dialect.name == "postgresql"
    insert: Any = postgresql.insert if on_postgres else sqlite.insert
    statement = insert(IdempotencyKey).values(values)
    statement = statement.on_conflict_do_nothing(index_elements=_PARTS)
    made: uuid.UUID | None = session.scalar(statement.returning(IdempotencyKey.id))
    return made


def _take_over(session: Session, row: IdempotencyKey, fresh: dict[str, Any]) -> HeldCall:
    emptied = {"status_code": None, "headers": None, "body": None, "attempt": row.attempt + 1}
    mine = (IdempotencyKey.id == row.id, IdempotencyKey.attempt == row.attempt)
    changed = session.execute(
        update(IdempotencyKey)
        .where(*mine)
        .values({**emptied, **fresh})
        .execution_options(synchronize_session=False)
    )
    if cast("CursorResult[Any]", changed).rowcount != 1:
        raise _in_use()
    return HeldCall(row.id, row.attempt + 1)


def _mine(held: HeldCall) -> tuple[Any, ...]:
    return (
        IdempotencyKey.id == held.id,
        IdempotencyKey.attempt == held.attempt,
        IdempotencyKey.status_code.is_(None),
    )


def _in_use() -> Conflict:
    detail = "The first call with this Idempotency-Key is not answered yet."
    return Conflict("idempotency_key_in_use", detail)
