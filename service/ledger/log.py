"""The audit log: one append-only hash chain per tenant, written with the change it is about.

Every writing transaction of a tenant takes the tenant's turn first (`take_turn`), so the chain
cannot fork and rows of a tenant are never locked in two orders. SQLite has one writer anyway.
"""

import hashlib
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, text
from sqlalchemy.orm import Session

from service.chain import GENESIS
from service.commitment import canonical_json
from service.database import now, set_clock
from service.ledger.orders import Caller, Page
from service.ledger.reading import page_after
from service.ledger.report_context import LogPosition
from service.tables import AuditEvent

HOUSEKEEPING = 0x53574545  # "SWEE"
# a materialised CTE, so that the clock is read after the wait
_TURN = text(
    "WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(:key))"
    " SELECT clock_timestamp() FROM turn"
)


# made once: making a statement costs more than asking it
_LAST_LINK = (
    select(AuditEvent.seq, AuditEvent.hash)
    .where(AuditEvent.tenant_id == bindparam("tenant_id"))
    .order_by(AuditEvent.seq.desc())
    .limit(1)
)


def take_turn(session: Session, tenant_id: uuid.UUID) -> None:
    """Wait until no other transaction of this tenant is writing; lasts until commit.

    Read rows after this, not before: what was read earlier may have changed meanwhile.
    """
    turns = _turns(session)
    if tenant_id not in turns and session.get_bind().dialect.name == "postgresql":
        turns.add(tenant_id)
        key = int.from_bytes(hashlib.sha256(tenant_id.bytes).digest()[:8], "big", signed=True)
        set_clock(session, session.execute(_TURN, {"key": key}).scalar_one())


def take_housekeeping(session: Session) -> bool:
    """Say whether this transaction may do what takes the turns of several tenants.

    One such transaction at a time: two could wait for each other's tenants for ever.
    """
    if session.get_bind().dialect.name != "postgresql":
        return True
    taken = session.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": HOUSEKEEPING})
    return bool(taken.scalar_one())


def record_event(  # noqa: PLR0917 - the five parts of an entry, in their order
    session: Session,
    tenant_id: uuid.UUID,
    actor: str,
    action: str,
    resource: str,
    payload: dict[str, Any],
) -> AuditEvent:
    """Append one link; it becomes durable together with the caller's transaction.

    `payload` holds counts, digests and states, never sample ids.
    """
    take_turn(session, tenant_id)
    ends = _ends(session)
    with session.no_autoflush:  # no link of this chain waits, or `ends` would have its end
        last = ends.get(tenant_id) or log_position(session, tenant_id)
    event = AuditEvent(
        tenant_id=tenant_id,
        seq=last.seq + 1,
        at=now(session),
        actor=actor,
        action=action,
        resource=resource,
        payload=payload,
        prev_hash=last.hash,
    )
    event.hash = event_hash(event)
    session.add(event)
    ends[tenant_id] = LogPosition(seq=event.seq, hash=event.hash)
    return event


def log_position(session: Session, tenant_id: uuid.UUID) -> LogPosition:
    """Return the chain's last link, seq 0 with a hash of zeros when there is none."""
    row = session.execute(_LAST_LINK, {"tenant_id": tenant_id}).first()
    return LogPosition(seq=row.seq, hash=row.hash) if row else LogPosition(seq=0, hash=GENESIS)


def _ends(session: Session) -> dict[uuid.UUID, LogPosition]:
    """Return the ends of the chains that this transaction has written to: nobody else can."""
    known: dict[uuid.UUID, LogPosition] = _of_transaction(session, "chain_ends", dict)
    return known


def _turns(session: Session) -> set[uuid.UUID]:
    """Return the tenants whose turn this transaction has; a rolled back savepoint gives it back."""
    taken: set[uuid.UUID] = _of_transaction(session, "turns", set)
    return taken


def _of_transaction(session: Session, name: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - what make returns
    """Return what is remembered for as long as the present transaction or savepoint lasts."""
    transaction = session.get_nested_transaction() or session.get_transaction()
    owner, kept = session.info.get(name, (None, None))
    if transaction is None or owner is not transaction:
        kept = make()
        session.info[name] = (transaction, kept)
    return kept


def event_hash(event: AuditEvent) -> str:
    """Return SHA-256 of the canonical JSON of all fields but the hash itself."""
    return hashlib.sha256(canonical_json(event_fields(event))).hexdigest()


def event_fields(event: AuditEvent) -> dict[str, Any]:
    """Return what the hash covers, in the form in which the log is published."""
    return {
        "tenant_id": str(event.tenant_id),
        "seq": event.seq,
        "at": iso(event.at),
        "actor": event.actor,
        "action": event.action,
        "resource": event.resource,
        "payload": event.payload,
        "prev_hash": event.prev_hash,
    }


def iso(moment: datetime) -> str:
    """Write a UTC time as ISO 8601 with microseconds and Z."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def list_events(
    session: Session, caller: Caller, cursor: str | None = None, limit: int = 100
) -> Page[AuditEvent]:
    """Return a segment of the caller's chain in order; the cursor is the last seq seen."""
    query = select(AuditEvent).where(AuditEvent.tenant_id == caller.tenant_id)
    return page_after(session, query, AuditEvent.seq, cursor, limit)
