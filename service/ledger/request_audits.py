"""Later audits of closed requests: with references where there were none, or made once more.

Both work on what the request's run worked on: its base, its candidate, E as the run froze it and so
its R. That holds only while E is still that set, for an audit trains on R.
"""

import base64
import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import pack, unpack
from service.database import among, now
from service.errors import Conflict
from service.ledger.comparison import compare
from service.ledger.contexts import context_of_audit
from service.ledger.log import take_turn
from service.ledger.orders import Caller
from service.ledger.planning import start_look
from service.ledger.qualified import qualify_by
from service.ledger.reading import OPEN, get_request
from service.ledger.report_context import ReportContext
from service.ledger.samples import erased_for, samples_of
from service.ledger.states import record
from service.ledger.terms import usable_model
from service.tables import (
    Audit,
    AuditPurpose,
    AuditStatus,
    Dataset,
    DeletionRequest,
    Model,
    ModelVersion,
    Report,
    RequestAudit,
    RequestStatus,
    Run,
    Sample,
    VersionState,
    new_id,
)

AuditOfRequest = Literal["upgrade", "reproduction"]


def open_request_audit(
    session: Session, caller: Caller, request_id: uuid.UUID, purpose: AuditOfRequest
) -> Audit:
    """Accept an audit of a closed request; its report stays as it is and E does not grow.

    `upgrade`: the version that the request ended with, against references, under the policy and
    looks of its run. `reproduction`: the candidate that its report is about, at the level and look
    at which it was closed.

    Raises:
        NotFound: no such request.
        Conflict: `not_closed`, `no_result`, `erased_set_grew`, `version_purged`, `samples_purged`,
            `audit_in_progress`; `model_rejected`.
        Unprocessable: `recipe_required`.
    """
    take_turn(session, caller.tenant_id)
    request = get_request(session, caller, request_id)
    run = _run_of(session, request)
    usable_model(session, caller, request.model_id)
    _refuse_grown(session, run)
    base = session.get_one(ModelVersion, run.base_version_id, populate_existing=True)
    candidate = _candidate(session, request, run, purpose)
    _refuse_purged(base, candidate)
    _refuse_second(session, request, purpose)
    samples = _samples(session, request)
    audit = _new_audit(session, caller, request, run, candidate, purpose)
    audit.forget = pack(samples)
    session.add(audit)
    session.flush()
    session.add(_link(audit, request, candidate))
    facts = {"request": str(request.id), "purpose": purpose, "samples": audit.num_samples}
    record(session, audit, "opened", caller.actor, weights_sha256=audit.weights_sha256, **facts)
    start_look(session, audit)
    return audit


def request_images(session: Session, caller: Caller, request_id: uuid.UUID) -> list[str]:
    """Return the paths of a request's images, as the worker will look for them.

    Raises:
        NotFound: no such request.
    """
    request = get_request(session, caller, request_id)
    model = session.get_one(Model, request.model_id)
    root = PurePosixPath(session.get_one(Dataset, model.dataset_id).root)
    ordinals = samples_of(session, [request.id]).get(request.id, ())
    query = select(Sample.uri).where(
        Sample.dataset_id == model.dataset_id, among(session, Sample.ordinal, ordinals)
    )
    return [str(root / uri) for uri in session.scalars(query.order_by(Sample.ordinal))]


def audits_of_request(
    session: Session, request: DeletionRequest
) -> Sequence[tuple[Audit, RequestAudit]]:
    """Return the later audits of a request, oldest first; an open request has none."""
    if request.closed_at is None:
        return []
    query = (
        select(Audit, RequestAudit)
        .join(RequestAudit, RequestAudit.audit_id == Audit.id)
        .where(RequestAudit.request_id == request.id)
        .order_by(Audit.id)
        .execution_options(populate_existing=True)
    )
    return [(audit, link) for audit, link in session.execute(query)]


def request_audit_of(session: Session, audit: Audit) -> RequestAudit | None:
    """Return what ties an audit to a request; None for an audit of weights made elsewhere."""
    return session.get(RequestAudit, audit.id, populate_existing=True)


def context_of_any_audit(session: Session, audit: Audit, result: dict[str, Any]) -> ReportContext:
    """Return the context of a completed audit's report, with the comparison of a reproduction.

    The comparison is kept with the audit.
    """
    context = context_of_audit(session, audit, result)
    link = request_audit_of(session, audit)
    if link is None:
        return context
    request = session.get_one(DeletionRequest, link.request_id)
    report = session.scalars(select(Report).where(Report.request_id == request.id)).one()
    if audit.purpose == AuditPurpose.REPRODUCTION:
        link.comparison = _compare(_predicate(report), context)
        session.flush()
        reproduced = link.comparison["reproduced"]
        record(session, audit, "compared", reproduced=reproduced, report=report.sha256)
    about = {
        "id": str(request.id),
        "purpose": str(audit.purpose),
        "verdict": request.verdict,
        "report_sha256": report.sha256,
        "comparison": link.comparison,
    }
    return replace(context, of_request=about)


def _compare(predicate: dict[str, Any], found: ReportContext) -> dict[str, Any]:
    """Compare after the recorded qualification was asked, where the recorded verdict rests on one.

    Whether that qualification is still live is no question of whether the figures are right.
    """
    if found.audit is not None and (cited := predicate.get("qualification")) is not None:
        audit = qualify_by(cited, found.audit)
        found = replace(found, audit=audit, verdict=audit["verdict"])
    return compare(predicate, found)


def _predicate(report: Report) -> dict[str, Any]:
    """Return what was signed; the envelope's, not that of the column kept for queries."""
    payload = base64.b64decode(json.loads(report.envelope)["payload"])
    predicate: dict[str, Any] = json.loads(payload)["predicate"]
    return predicate


def _run_of(session: Session, request: DeletionRequest) -> Run:
    """Return the run that closed a request; raise Conflict where none did."""
    if request.status in OPEN:
        detail = f"The request is {request.status}; only a closed one has something to audit."
        raise Conflict("not_closed", detail)
    if request.status != RequestStatus.COMPLETED or request.run_id is None:
        detail = f"The request is {request.status}: it ended without a version and a report."
        raise Conflict("no_result", detail)
    return session.get_one(Run, request.run_id, populate_existing=True)


def _candidate(
    session: Session, request: DeletionRequest, run: Run, purpose: AuditOfRequest
) -> ModelVersion:
    """Return the version to audit; where nothing had to be removed a report's own was rejected."""
    if purpose == "upgrade":
        return session.get_one(ModelVersion, request.result_version_id, populate_existing=True)
    query = select(ModelVersion).where(
        ModelVersion.model_id == run.model_id, ModelVersion.number == run.tries[-1]["version"]
    )
    return session.scalars(query.execution_options(populate_existing=True)).one()


def _refuse_grown(session: Session, run: Run) -> None:
    model = session.get_one(Model, run.model_id)
    if more := len(erased_for(session, model) - unpack(run.erased)):
        detail = (
            f"{more} more samples were accepted for erasure since the request's run was planned."
            " An audit trains on what the run kept, which holds them."
        )
        raise Conflict("erased_set_grew", detail, count=more)


def _refuse_purged(base: ModelVersion, candidate: ModelVersion) -> None:
    gone = {v.number for v in (base, candidate) if v.state == VersionState.PURGED}
    if gone:
        names = " and ".join(str(number) for number in sorted(gone))
        detail = f"The weights of version {names} were purged, so they cannot be measured again."
        raise Conflict("version_purged", detail, versions=sorted(gone))


def _refuse_second(session: Session, request: DeletionRequest, purpose: AuditOfRequest) -> None:
    for audit, _ in audits_of_request(session, request):
        if audit.status == AuditStatus.IN_PROGRESS and audit.purpose == purpose:
            detail = "The same audit of this request is in progress."
            raise Conflict("audit_in_progress", detail, audit_id=str(audit.id))


def _samples(session: Session, request: DeletionRequest) -> BitMap:
    samples = samples_of(session, [request.id]).get(request.id)
    if samples is None:
        raise Conflict("samples_purged", "Which samples the request named is no longer kept.")
    return samples


def _link(audit: Audit, request: DeletionRequest, candidate: ModelVersion) -> RequestAudit:
    return RequestAudit(
        audit_id=audit.id,
        tenant_id=audit.tenant_id,
        request_id=request.id,
        candidate_version_id=candidate.id,
    )


def _new_audit(  # noqa: PLR0917 - the rows that it is made from
    session: Session,
    caller: Caller,
    request: DeletionRequest,
    run: Run,
    candidate: ModelVersion,
    purpose: AuditOfRequest,
) -> Audit:
    again = purpose == "reproduction"
    return Audit(
        id=new_id(),
        tenant_id=caller.tenant_id,
        model_id=run.model_id,
        base_version_id=run.base_version_id,
        label=f"version {candidate.number} of deletion request {request.id}",
        num_samples=request.num_samples,
        erased=run.erased,
        retain_digest=run.retain_digest,
        weights_uri=candidate.weights_uri,
        weights_sha256=candidate.weights_sha256,
        policy=run.policy,
        policy_digest=run.policy_digest,
        look=run.look if again else 1,
        purpose=AuditPurpose(purpose),
        level=run.audit if again else "references",
        commitment_root=request.commitment_root,
        commitment_salt=request.commitment_salt,
        status=AuditStatus.IN_PROGRESS,
        created_by=caller.actor,
        created_at=now(session),
    )
