"""Which weights and predictions are still kept when a report is signed, where, and until when."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, cast, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import limits, now
from service.ledger.holds import held_models
from service.ledger.log import iso
from service.ledger.pools import pool_copies
from service.ledger.references import cache_key
from service.ledger.report_context import ResidualCopy
from service.tables import (
    Audit,
    AuditPurpose,
    ModelVersion,
    Purge,
    Reference,
    Run,
    VersionState,
)

Made = Literal["version", "candidate", "pool"]  # with the samples
LEEWAY_S = 300.0  # for the sweeper's rounds


def residual_copies(
    session: Session, owner: Run | Audit, references: Sequence[Reference]
) -> tuple[ResidualCopy, ...]:
    """List the weights and predictions that are still kept, and until when.

    What was given up counts until its file is gone.
    """
    until = iso(_gone_by(session, now(session), limits(session).reference_grace_s))
    held = owner.model_id in set(session.scalars(held_models(session, owner.tenant_id)))
    query = (
        select(ModelVersion)
        .where(ModelVersion.model_id == owner.model_id, ModelVersion.state != VersionState.PURGED)
        .order_by(ModelVersion.number)
    )
    base = session.get_one(ModelVersion, owner.base_version_id)
    copies = [
        _copy(session, version, until)
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
    if held:
        copies = [_suspended(copy) for copy in copies]
    return (*_being_deleted(session, owner), *copies)


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


def _being_deleted(session: Session, owner: Run | Audit) -> list[ResidualCopy]:
    """List what the model's versions and pools gave up and nobody has seen gone yet."""
    query = select(Purge).where(
        Purge.model_id == owner.model_id,
        Purge.done_at.is_(None),
        Purge.what.in_(get_args(Made)),
    )
    return [
        ResidualCopy(
            what=cast("Made", row.what),
            name=f"{row.name}, being deleted",
            digest=row.digest,
            where=row.uri or "",
            contains=True,
            until=iso(_gone_by(session, row.decided_at, 0)),
        )
        for row in session.scalars(query.order_by(Purge.id))
    ]


def _gone_by(session: Session, since: datetime, kept_s: float) -> datetime:
    """Return by when a file is deleted that is kept so long: the collector watches it first."""
    return since + timedelta(seconds=kept_s + 1.25 * limits(session).orphan_age_s + LEEWAY_S)


def _copy(session: Session, version: ModelVersion, until: str) -> ResidualCopy:
    """Describe a version; `until` is that of a rejected one."""
    rejected = version.state == VersionState.REJECTED
    if not rejected:
        kept_s = 86_400 * limits(session).keep_superseded_days
        until = iso(_gone_by(session, version.superseded_at or now(session), kept_s))
    return ResidualCopy(
        what="candidate" if rejected else "version",
        name=f"version {version.number}",
        digest=version.weights_sha256,
        where=version.weights_uri,
        contains=True,
        until=until,
    )
