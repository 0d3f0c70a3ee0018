"""What the ledger gives up, and when; it is deleted later, and the audit log proves both.

| what | when |
|---|---|
| reference | its R holds a sample of E by now (`stale`); nobody needed it for long (`unneeded`) |
| candidate | it was rejected and its run and every audit of it are over (`rejected`) |
| pool | its run is over or serves another forget set (`run_over`) |
| version | superseded `keep_superseded_days` ago, and no audit measures it (`superseded`) |
| samples | which samples a request named, `keep_samples_days` after it was closed (`closed`) |
| dropped_samples | see `service.ledger.dropping` |

While a request is on legal hold nothing goes that its data set's models made.

Giving up is one transaction: the row no longer names the artifact, a `Purge` row does. The
collector deletes the file when no row of any tenant has named or touched it for a while, and only
then writes into the log that it is gone: a worker may be storing the same content just now.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from service.bitmaps import pack
from service.config import Settings
from service.database import now
from service.erased import Eraser
from service.ledger.dropping import drop_erased
from service.ledger.holds import held_models
from service.ledger.log import iso, record_event, take_housekeeping, take_turn
from service.ledger.pools import POOL_NAME, drop_pools
from service.ledger.reading import OPEN
from service.ledger.references import give_up_references
from service.ledger.states import RESOURCES, move, record
from service.storage import KEY_PATTERN
from service.tables import (
    Audit,
    AuditStatus,
    DeletionRequest,
    ModelVersion,
    Pool,
    Purge,
    Reference,
    RequestAudit,
    RequestCopies,
    RequestSamples,
    Run,
    RunState,
    VersionState,
    new_id,
)


def purge(
    session: Session, settings: Settings, tenant_id: uuid.UUID, eraser: Eraser | None = None
) -> list[Purge]:
    """Give up what is due of a tenant and return the records of it.

    Without an eraser, which hashes them, the rows of erased samples stay.
    """
    if not take_housekeeping(session):
        return []
    take_turn(session, tenant_id)
    found = [
        _note(session, row, "reference", f"reference with seed {row.seed}", reason)
        for row, reason in give_up_references(session, settings, tenant_id)
    ]
    found += [
        _note(session, row, "candidate", f"version {row.number}", "rejected")
        for row in _give_up(session, tenant_id, _rejected())
    ]
    found += [
        _note(session, row, "pool", POOL_NAME, "run_over") for row in drop_pools(session, tenant_id)
    ]
    found += [
        _note(session, row, "version", f"version {row.number}", "superseded")
        for row in _give_up(session, tenant_id, _superseded(session, settings))
    ]
    found += _forget_samples(session, settings, tenant_id)
    if eraser is not None:
        for dataset, count in drop_erased(session, tenant_id, eraser):
            found.append(_note_rows(session, tenant_id, dataset.id, count))
    session.flush()
    return found


def _rejected() -> list[ColumnElement[bool]]:
    active = select(Run.id).where(Run.state == RunState.ACTIVE)
    return [
        ModelVersion.state == VersionState.REJECTED,
        ModelVersion.run_id.is_(None) | ModelVersion.run_id.not_in(active),
    ]


def _superseded(session: Session, settings: Settings) -> list[ColumnElement[bool]]:
    before = now(session) - timedelta(days=settings.keep_superseded_days)
    needed = select(Run.base_version_id).where(Run.state == RunState.ACTIVE)
    return [
        ModelVersion.state == VersionState.SUPERSEDED,
        ModelVersion.superseded_at <= before,
        ModelVersion.id.not_in(needed),
    ]


def _give_up(
    session: Session, tenant_id: uuid.UUID, due: Sequence[ColumnElement[bool]]
) -> Sequence[ModelVersion]:
    """Purge versions that are due, unless an audit measures them or a hold keeps them."""
    audited = Audit.status == AuditStatus.IN_PROGRESS
    candidates = (
        select(RequestAudit.candidate_version_id)
        .join(Audit, Audit.id == RequestAudit.audit_id)
        .where(audited)
    )
    query = select(ModelVersion).where(
        *due,
        ModelVersion.tenant_id == tenant_id,
        ModelVersion.id.not_in(candidates),
        ModelVersion.id.not_in(select(Audit.base_version_id).where(audited)),
        ModelVersion.model_id.not_in(held_models(session, tenant_id)),
    )
    rows = session.scalars(
        query.order_by(ModelVersion.id).execution_options(populate_existing=True)
    ).all()
    for row in rows:
        move(session, row, VersionState.PURGED, number=row.number, sha256=row.weights_sha256)
        row.purged_at = now(session)
    return rows


def _forget_samples(session: Session, settings: Settings, tenant_id: uuid.UUID) -> list[Purge]:
    """Destroy the link from requests to their samples, and the salts of their commitments."""
    before = now(session) - timedelta(days=settings.keep_samples_days)
    audited = (
        select(RequestAudit.request_id)
        .join(Audit, Audit.id == RequestAudit.audit_id)
        .where(Audit.status == AuditStatus.IN_PROGRESS)
    )
    query = (
        select(DeletionRequest)
        .where(
            DeletionRequest.tenant_id == tenant_id,
            DeletionRequest.status.not_in(OPEN),
            DeletionRequest.closed_at <= before,
            DeletionRequest.commitment_salt.is_not(None),
            DeletionRequest.id.not_in(audited),
            DeletionRequest.model_id.not_in(held_models(session, tenant_id)),
        )
        .order_by(DeletionRequest.id)
    )
    rows = session.scalars(query.execution_options(populate_existing=True)).all()
    return [_forget_request(session, row) for row in rows]


def _forget_request(session: Session, request: DeletionRequest) -> Purge:
    for table in (RequestSamples, RequestCopies):
        session.execute(delete(table).where(table.request_id == request.id))
    request.commitment_salt = request.order_digest = None
    audits = select(Audit).join(RequestAudit, RequestAudit.audit_id == Audit.id)
    for audit in session.scalars(audits.where(RequestAudit.request_id == request.id)):
        audit.commitment_salt, audit.forget = None, pack(())
    record(session, request, "samples_purged", samples=request.num_samples)
    moment = now(session)
    row = Purge(
        id=new_id(),
        tenant_id=request.tenant_id,
        model_id=request.model_id,
        request_id=request.id,
        what="samples",
        name="which samples the request named, and the salt of its commitment",
        resource=f"{RESOURCES[DeletionRequest]}/{request.id}",
        size=request.num_samples,
        reason="closed",
        decided_at=moment,
        done_at=moment,
    )
    session.add(row)
    return row


def _note(
    session: Session, row: ModelVersion | Reference | Pool, what: str, name: str, reason: str
) -> Purge:
    """Write down that an artifact was given up; the collector finds it by that."""
    uri, digest = (
        (row.predictions_uri, row.predictions_sha256)
        if isinstance(row, Pool)
        else (row.weights_uri, row.weights_sha256)
    )
    stored = uri is not None and KEY_PATTERN.fullmatch(uri) is not None
    moment = now(session)
    model_id = session.get_one(Run, row.run_id).model_id if isinstance(row, Pool) else row.model_id
    noted = Purge(
        id=new_id(),
        tenant_id=row.tenant_id,
        model_id=model_id,
        what=what,
        name=name,
        resource=f"{RESOURCES[type(row)]}/{row.id}",
        uri=uri if stored else None,
        digest=digest,
        reason=reason,
        decided_at=moment,
        done_at=None if stored else moment,
    )
    session.add(noted)
    return noted


def _note_rows(session: Session, tenant_id: uuid.UUID, dataset_id: uuid.UUID, count: int) -> Purge:
    moment = now(session)
    row = Purge(
        id=new_id(),
        tenant_id=tenant_id,
        what="dropped_samples",
        name="ids, places, digests and people of erased samples",
        resource=f"datasets/{dataset_id}",
        size=count,
        reason="nothing_left",
        decided_at=moment,
        done_at=moment,
    )
    session.add(row)
    return row


def pending_artifacts(session: Session) -> set[str]:
    """Return the artifacts that were given up and may still lie in the storage."""
    query = select(Purge.uri).where(Purge.done_at.is_(None), Purge.uri.is_not(None))
    return {key for key in session.scalars(query) if key is not None}


def finish_purges(
    session: Session, tenant_id: uuid.UUID, gone: Mapping[str, int | None]
) -> list[Purge]:
    """Write into a tenant's log which of the artifacts that it gave up are gone.

    `gone`: bytes by storage key, None where the file had been removed already.
    """
    take_turn(session, tenant_id)
    query = select(Purge).where(
        Purge.tenant_id == tenant_id, Purge.done_at.is_(None), Purge.uri.in_(gone)
    )
    rows = session.scalars(query.order_by(Purge.id)).all()
    for row in rows:
        row.done_at, row.size = now(session), gone[row.uri or ""]
        facts = {
            "what": row.what,
            "sha256": row.digest,
            "bytes": row.size,
            "reason": row.reason,
            "decided_at": iso(row.decided_at),
        }
        record_event(session, tenant_id, "system", "artifact.deleted", row.resource, facts)
    return list(rows)
