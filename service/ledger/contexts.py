"""Gather what a report says from the rows of the ledger and the result of the audit."""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from service.bitmaps import unpack
from service.database import now
from service.ledger.deployments import deployment_copies
from service.ledger.log import log_position
from service.ledger.planning import reference_count, retain_set
from service.ledger.pools import pool_facts
from service.ledger.references import usable_references
from service.ledger.report_context import (
    ReferenceFacts,
    ReportContext,
    SubjectFacts,
    VersionFacts,
)
from service.ledger.residual import residual_copies
from service.ledger.samples import trained_on
from service.ledger.starting import start_in_words
from service.tables import (
    Audit,
    Dataset,
    DatasetRevision,
    DeletionRequest,
    Model,
    ModelVersion,
    Reference,
    RequestAudit,
    Run,
    VersionState,
)


@dataclass(frozen=True)
class _Scene:
    """The rows that reports of one run or audit share; `data` is the model's revision."""

    model: Model
    dataset: Dataset
    data: Dataset | DatasetRevision
    base: ModelVersion
    references: list[Reference]


def context_of_request(
    session: Session,
    run: Run,
    request: DeletionRequest,
    candidate: ModelVersion,
    result: dict[str, Any],
) -> ReportContext:
    """Return the context of a completed request's report."""
    audit = result.get("audits", {}).get(str(request.id))
    subject = _subject(session, request, None if audit is None else audit["scope"])
    method = {
        **(candidate.method or {}),
        "seed": candidate.seed,
        "seconds": candidate.seconds,
        "environment": candidate.environment,
    }
    return _context(
        session,
        run,
        result,
        subject=subject,
        run_id=run.id,
        candidate=_version(candidate),
        promoted=candidate.state == VersionState.CURRENT,
        method=method,
        ladder=tuple(run.ladder),
        audit_level=run.audit,
        start=start_in_words(run),
        passed_over=tuple(run.passed_over),
        tries=tuple(_own_try(entry, request.id) for entry in run.tries),
        verdict=request.verdict or "",
        qualification=result.get("qualifications", {}).get(str(request.id)),
        pool=pool_facts(session, run, request.id, candidate),
    )


def _subject(session: Session, request: DeletionRequest, scope: str | None) -> SubjectFacts:
    return SubjectFacts(
        kind="deletion_request",
        id=request.id,
        subject_request_id=request.subject_request_id,
        label=None,
        regulation=request.regulation,
        submitted_time=request.submitted_time,
        received_at=request.received_at,
        due_at=request.due_at,
        due_rule=request.due_rule,
        closed_at=request.closed_at or now(session),
        num_samples=request.num_samples,
        commitment_root=request.commitment_root,
        scope=scope,
    )


def context_of_audit(session: Session, audit: Audit, result: dict[str, Any]) -> ReportContext:
    """Return the context of a completed audit's report."""
    subject = SubjectFacts(
        kind="audit",
        id=audit.id,
        subject_request_id=None,
        label=audit.label,
        regulation=None,
        submitted_time=audit.created_at,
        received_at=audit.created_at,
        due_at=None,
        due_rule=None,
        closed_at=audit.closed_at or now(session),
        num_samples=audit.num_samples,
        commitment_root=audit.commitment_root,
        scope=result["audits"][str(audit.id)]["scope"],
    )
    return _context(
        session,
        audit,
        result,
        subject=subject,
        run_id=None,
        candidate=_audited(session, audit),
        promoted=False,
        method=None,
        ladder=(),
        audit_level=audit.level,
        tries=(),
        verdict=audit.verdict or "",
    )


def _audited(session: Session, audit: Audit) -> VersionFacts:
    """Return the candidate: a version of the model, or weights made elsewhere."""
    link = session.get(RequestAudit, audit.id)
    if link is not None:
        return _version(session.get_one(ModelVersion, link.candidate_version_id))
    return VersionFacts(
        number=None,
        sha256=audit.weights_sha256,
        created_at=audit.created_at,
        state="external",
    )


def _context(
    session: Session,
    owner: Run | Audit,
    result: dict[str, Any],
    *,
    subject: SubjectFacts,
    **own: Any,  # noqa: ANN401 - the fields in which requests and audits differ
) -> ReportContext:
    """Fill in what is alike for requests and audits."""
    scene, key = _scene(session, owner), str(subject.id)
    references = [
        ReferenceFacts(seed=row.seed, sha256=row.weights_sha256 or "", seconds=row.seconds or 0.0)
        for row in scene.references
    ]
    return ReportContext(
        tenant_id=owner.tenant_id,
        subject=subject,
        retain_digest=owner.retain_digest,
        num_retain=len(retain_set(session, owner)),
        num_erased=len(unpack(owner.erased)),
        base=_version(scene.base),
        references=tuple(references),
        policy_name=owner.policy["name"],
        policy_version=owner.policy["version"],
        policy_digest=owner.policy_digest,
        audit=result.get("audits", {}).get(key),
        near_duplicates=result.get("copies", {}).get(key),
        figures=_figures(result, key),
        environment=result.get("environment") or {},
        residual_copies=(
            *residual_copies(session, owner, scene.references),
            *deployment_copies(session, owner),
        ),
        log=log_position(session, owner.tenant_id),
        **_origin(scene),
        **own,
    )


def _origin(scene: _Scene) -> dict[str, Any]:
    """Return what the report says of the model and its data set."""
    model, dataset = scene.model, scene.dataset
    return {
        "model_id": model.id,
        "model_name": model.name,
        "architecture": model.architecture,
        "network": {
            "architecture_kwargs": model.architecture_kwargs,
            "preprocessing": model.preprocessing,
            "classifier": model.classifier,
            "num_classes": len(dataset.class_names),
        },
        "recipe": model.recipe,
        "recipe_digest": model.recipe_digest,
        "dataset_id": dataset.id,
        "dataset_name": dataset.name,
        "fingerprint_before": scene.data.fingerprint,
        "num_train": scene.data.num_train,
        "num_holdout": scene.data.num_holdout,
    }


def _scene(session: Session, owner: Run | Audit) -> _Scene:
    model = session.get_one(Model, owner.model_id)
    count = reference_count(owner)
    return _Scene(
        model=model,
        dataset=session.get_one(Dataset, model.dataset_id),
        data=trained_on(session, model),
        base=session.get_one(ModelVersion, owner.base_version_id),
        references=usable_references(session, model, owner.retain_digest)[:count],
    )


def _version(version: ModelVersion) -> VersionFacts:
    return VersionFacts(
        number=version.number,
        sha256=version.weights_sha256,
        created_at=version.created_at,
        state=str(version.state),
    )


def _own_try(entry: dict[str, Any], request_id: uuid.UUID) -> dict[str, Any]:
    """Leave out what a try says about other people's requests."""
    key = str(request_id)
    audits = {key: entry["audits"][key]} if key in entry["audits"] else {}
    return {**entry, "audits": audits}


def _figures(result: dict[str, Any], key: str) -> tuple[dict[str, Any], ...]:
    """Join each figure with the artifact that holds it."""
    figures = []
    for figure in result.get("figures", {}).get(key, []):
        artifact = result["artifacts"][figure["artifact"]]
        stored = {name: artifact[name] for name in ("sha256", "media_type", "uri")}
        shown = {name: figure[name] for name in ("name", "title", "alt", "table")}
        figures.append(shown | stored)
    return tuple(figures)
