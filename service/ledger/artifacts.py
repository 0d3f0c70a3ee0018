"""Which artifacts the ledger names; whatever else lies in the storage belongs to nobody."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.ledger.log import record_event
from service.storage import KEY_PATTERN
from service.tables import (
    Approval,
    Audit,
    AuditPurpose,
    Dataset,
    DatasetRevision,
    ModelVersion,
    Pool,
    PoolState,
    Reference,
    ReferenceState,
    Report,
    VersionState,
)


def named_artifacts(session: Session) -> set[str]:
    """Return the storage keys that a row of any tenant refers to."""
    queries = (
        select(Dataset.manifest_uri),
        select(DatasetRevision.manifest_uri),
        select(ModelVersion.weights_uri).where(ModelVersion.state != VersionState.PURGED),
        # an audit of a request only borrows a version's weights
        select(Audit.weights_uri).where(Audit.purpose == AuditPurpose.EXTERNAL),
        select(Reference.weights_uri).where(Reference.state == ReferenceState.READY),
        select(Pool.predictions_uri).where(Pool.state == PoolState.READY),
    )
    named = {key for query in queries for key in session.scalars(query) if key is not None}
    for figures in session.scalars(select(Report.figures)):
        named |= {figure["uri"] for figure in figures}
    # figures of a candidate that waits for approval have no report yet
    waiting = select(Approval.result["artifacts"]).where(Approval.decision.is_(None))
    for artifacts in session.scalars(waiting):
        named |= {artifact["uri"] for artifact in artifacts.values()}
    return {key for key in named if KEY_PATTERN.fullmatch(key)}


def record_collected(session: Session, tenant_id: UUID, artifacts: int, size: int) -> None:
    """Write down in a tenant's log that artifacts without an owner were removed.

    Nobody knows whose they were: every tenant's log tells their number and bytes, and no digest.
    """
    facts = {"artifacts": artifacts, "bytes": size}
    record_event(session, tenant_id, "system", "storage.collected", "storage", facts)
