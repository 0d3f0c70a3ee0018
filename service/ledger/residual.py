"""Which weights and predictions are still kept when a report is signed, where, and until when."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import limits, now
from service.ledger.holds import held_models
from service.ledger.log import iso
from service.ledger.pools import pool_copies
from service.ledger.references import cache_key
from service.ledger.report_context import ResidualCopy
from service.tables import Audit, AuditPurpose, ModelVersion, Reference, Run, VersionState


def residual_copies(
    session: Session, owner: Run | Audit, references: Sequence[Reference]
) -> tuple[ResidualCopy, ...]:
    """List the weights and predictions that are still kept, and until when."""
    until = iso(now(session) + timedelta(seconds=limits(session).reference_grace_s))
    held = owner.model_id in set(session.scalars(held_models(session, owner.tenant_id)))
    query = (
        select(ModelVersion)
        .where(ModelVersion.model_id == owner.model_id, ModelVersion.state != VersionState.PURGED)
        .order_by(ModelVersion.number)
    )
    base = session.get_one(ModelVersion, owner.base_version_id)
    copies = [
        _copy(version, until)
        for version in session.scalars(query)
        if _contains(owner, base, version)
    ]
    copies += [
        ResidualCopy(
            what="reference",
            name=f"reference with seed {row.seed}",
            digest=row.weights_sha256,
            where=row.weights_uri or "",
            contains=False,
            until=until,
        )
        for row in references
    ]
    if references:
        copies.append(_cache(owner, until))
    if isinstance(owner, Run):
        copies += pool_copies(session, owner)
    return tuple(_suspended(copy) if held else copy for copy in copies)


def _suspended(copy: ResidualCopy) -> ResidualCopy:
    """Promise no date for what a legal hold keeps: all but what workers measured."""
    return copy if copy.what == "cache" else replace(copy, until=None, held=True)


def _cache(owner: Run | Audit, until: str) -> ResidualCopy:
    return ResidualCopy(
        what="cache",
        name="measurements on the workers' disks",
        digest=None,
        where=f"cache/{cache_key(owner.model_id, owner.retain_digest)}",
        contains=True,
        until=until,
    )


def _contains(owner: Run | Audit, base: ModelVersion, version: ModelVersion) -> bool:
    """Say whether a version was made with the samples: after a run, all but the current one.

    For an audit of a closed request: all up to its base, and candidates that were rejected.
    """
    if isinstance(owner, Audit):
        if owner.purpose == AuditPurpose.EXTERNAL:
            return version.id == base.id
        return version.number <= base.number or version.state == VersionState.REJECTED
    return version.state in (VersionState.SUPERSEDED, VersionState.REJECTED)


def _copy(version: ModelVersion, until: str) -> ResidualCopy:
    rejected = version.state == VersionState.REJECTED
    return ResidualCopy(
        what="candidate" if rejected else "version",
        name=f"version {version.number}",
        digest=version.weights_sha256,
        where=version.weights_uri,
        contains=True,
        until=until if rejected else None,
    )
