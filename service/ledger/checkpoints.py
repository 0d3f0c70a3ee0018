"""Checkpoints: the head of a tenant's audit log, signed on a schedule and when asked for."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import String, func, select, type_coerce
from sqlalchemy.orm import Session

from service.chain import Anchor, Checked, Finding, check_chain
from service.checkpoints import LogHead, SignedHead, read_checkpoint
from service.database import now
from service.errors import Conflict, NotFound
from service.ledger.log import iso, log_position, take_turn
from service.ledger.orders import Caller, Page
from service.ledger.reading import page_after
from service.tables import AuditCheckpoint, AuditEvent, Tenant
from service.verify import Key, VerificationError

Sign = Callable[[LogHead], SignedHead]
FETCHED = 1000  # entries that are read together
TOLD = 20  # how many damages a problem lists


def read_entries(
    session: Session, tenant_id: uuid.UUID, start: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a tenant's entries as they are published, by number; `start`: from this one on.

    A column whose content is not even readable is passed on as it stands, so that a check names
    the entry instead of breaking off.
    """
    query = (
        select(
            AuditEvent.seq,
            type_coerce(AuditEvent.at, String),
            type_coerce(AuditEvent.payload, String),
            AuditEvent.actor,
            AuditEvent.action,
            AuditEvent.resource,
            AuditEvent.prev_hash,
            AuditEvent.hash,
        )
        .where(AuditEvent.tenant_id == tenant_id)
        .order_by(AuditEvent.seq)
        .execution_options(yield_per=FETCHED)
    )
    if start is not None:
        query = query.where(AuditEvent.seq >= start)
    with session.execute(query) as rows:
        for seq, at, payload, actor, action, resource, prev_hash, digest in rows:
            yield {
                "tenant_id": str(tenant_id),
                "seq": seq,
                "at": _moment(at),
                "actor": actor,
                "action": action,
                "resource": resource,
                "payload": _json(payload),
                "prev_hash": prev_hash,
                "hash": digest,
            }


def verify_chain(
    session: Session,
    tenant_id: uuid.UUID,
    anchors: Sequence[Anchor] = (),
    keys: Sequence[Key] = (),
) -> Checked:
    """Check a tenant's whole log against anchors and the checkpoints that the database keeps.

    With the signer's keys a kept checkpoint that none of them signed, or that is not what was
    signed, is a damage too; without keys the rows are believed.
    """
    rows = _checkpoints(session, tenant_id)
    kept = [_anchor(row) for row in rows]
    checked = check_chain(read_entries(session, tenant_id), [*anchors, *kept])
    false = [found for row in rows if keys for found in _check_signed(row, keys)]
    return replace(checked, findings=tuple(sorted([*checked.findings, *false])))


def _check_signed(row: AuditCheckpoint, keys: Sequence[Key]) -> list[Finding]:
    try:
        tenant, anchor = read_checkpoint(row.envelope, keys)
    except (VerificationError, KeyError, TypeError, ValueError) as error:
        return [Finding(row.seq, row.seq, "false_checkpoint", str(error.args[-1]))]
    if (tenant, anchor.seq, anchor.hash) == (str(row.tenant_id), row.seq, row.hash):
        return []
    words = f"The database's checkpoint says otherwise than what was signed, entry {anchor.seq}."
    return [Finding(row.seq, row.seq, "false_checkpoint", words)]


def add_checkpoint(
    session: Session, tenant_id: uuid.UUID, sign: Sign
) -> tuple[AuditCheckpoint, bool]:
    """Sign the head of a tenant's log; return the checkpoint, and whether it is a new one.

    What was written since the last checkpoint is checked first: nobody signs a damaged log.

    Raises:
        Conflict: `log_damaged`; its `damages` name the entries.
    """
    take_turn(session, tenant_id)
    last, head = newest_checkpoint(session, tenant_id), log_position(session, tenant_id)
    if last is not None and (last.seq, last.hash) == (head.seq, head.hash):
        return last, False
    start, anchors = (1, []) if last is None else (last.seq, [_anchor(last)])
    checked = check_chain(read_entries(session, tenant_id, start), anchors, start=start)
    refuse_damaged(checked)
    moment = now(session)
    signed = sign(LogHead(tenant_id=tenant_id, seq=head.seq, hash=head.hash, at=moment))
    row = AuditCheckpoint(
        tenant_id=tenant_id,
        seq=head.seq,
        hash=head.hash,
        keyid=signed.keyid,
        envelope=signed.envelope,
        signed_at=moment,
    )
    session.add(row)
    session.flush()
    return row, True


def refuse_damaged(checked: Checked) -> None:
    """Raise Conflict `log_damaged` with the first damages, unless there is none."""
    if checked.ok:
        return
    told = [
        {"seq": found.seq, "through": found.through, "kind": found.kind, "detail": found.detail}
        for found in checked.findings[:TOLD]
    ]
    count = len(checked.findings)
    detail = f"The audit log is damaged in {count} places; `expunge log verify` names them all."
    raise Conflict("log_damaged", detail, damages=told, count=count)


def due_checkpoints(session: Session, interval_s: float) -> list[uuid.UUID]:
    """Return the tenants whose log has grown since a checkpoint that is older than the interval."""
    end = select(func.max(AuditEvent.seq)).where(AuditEvent.tenant_id == Tenant.id)
    own = AuditCheckpoint.tenant_id == Tenant.id
    query = select(
        Tenant.id,
        end.scalar_subquery(),  # one step down the index, however long the log is
        select(func.max(AuditCheckpoint.seq)).where(own).scalar_subquery(),
        select(func.max(AuditCheckpoint.signed_at)).where(own).scalar_subquery(),
    )
    before = now(session) - timedelta(seconds=interval_s)
    return [
        tenant
        for tenant, end, seq, at in session.execute(query)
        if (end or 0) != (seq or 0) and (at is None or at <= before)
    ]


def newest_checkpoint(session: Session, tenant_id: uuid.UUID) -> AuditCheckpoint | None:
    """Return a tenant's last checkpoint, None where nothing was signed yet."""
    query = select(AuditCheckpoint).where(AuditCheckpoint.tenant_id == tenant_id)
    return session.scalar(query.order_by(AuditCheckpoint.seq.desc()).limit(1))


def get_checkpoint(session: Session, caller: Caller) -> AuditCheckpoint:
    """Return the caller's last checkpoint, or raise NotFound."""
    row = newest_checkpoint(session, caller.tenant_id)
    if row is None:
        raise NotFound("checkpoint")
    return row


def list_checkpoints(
    session: Session, caller: Caller, cursor: str | None = None, limit: int = 100
) -> Page[AuditCheckpoint]:
    """Return the caller's checkpoints, oldest first; the cursor is the last seq seen."""
    query = select(AuditCheckpoint).where(AuditCheckpoint.tenant_id == caller.tenant_id)
    return page_after(session, query, AuditCheckpoint.seq, cursor, limit)


def _checkpoints(session: Session, tenant_id: uuid.UUID) -> Sequence[AuditCheckpoint]:
    query = select(AuditCheckpoint).where(AuditCheckpoint.tenant_id == tenant_id)
    return session.scalars(query.order_by(AuditCheckpoint.seq)).all()


def _anchor(row: AuditCheckpoint) -> Anchor:
    return Anchor(row.seq, row.hash, f"the database's checkpoint of {iso(row.signed_at)}")


def _moment(value: Any) -> str:  # noqa: ANN401 - whatever the column holds
    """Write a time as the log publishes it; SQLite gives text."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return str(value)
    return iso(moment).removesuffix("Z") + "Z"


def _json(value: Any) -> Any:  # noqa: ANN401 - whatever the column holds
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
