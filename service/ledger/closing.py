"""The end of a run or an audit: promotion by compare-and-swap, and one signed report each."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from service.bitmaps import pack, unpack
from service.database import now
from service.ledger.contexts import context_of_request
from service.ledger.deployments import tell_stale
from service.ledger.planning import finish_run, plan_run, requests_of
from service.ledger.qualified import expire_outdated
from service.ledger.report_context import ReportContext, SignedReport
from service.ledger.request_audits import context_of_any_audit
from service.ledger.states import move, record
from service.tables import (
    Audit,
    AuditStatus,
    Model,
    ModelVersion,
    Report,
    RequestStatus,
    Run,
    RunState,
    VersionState,
    new_id,
)

Publish = Callable[[ReportContext], SignedReport]


def close_run(
    session: Session,
    run: Run,
    verdicts: Mapping[uuid.UUID, str],
    result: dict[str, Any],
    publish: Publish,
) -> None:
    """Promote the candidate unless there was nothing to remove, and report to every request.

    A run whose base is no longer current promotes nothing: its requests wait for the next run.
    """
    promoted = set(verdicts.values()) != {"NOTHING_TO_REMOVE"}
    base = session.get_one(ModelVersion, run.base_version_id)
    candidate = session.get_one(ModelVersion, run.candidate_version_id)
    if promoted and not promote(session, base, candidate):
        _give_back(session, run)
        return
    requests, model = requests_of(session, run), session.get_one(Model, run.model_id)
    finish_run(session, run, RunState.COMPLETED)
    model.erased = pack(unpack(model.erased) | unpack(run.forget))
    for request in requests:
        request.verdict, request.closed_at = verdicts[request.id], now(session)
        request.result_version_id = candidate.id if promoted else base.id
        move(session, request, RequestStatus.COMPLETED, verdict=request.verdict)
    session.flush()
    expire_outdated(session, run.model_id)
    for request in requests:
        context = context_of_request(session, run, request, candidate, result)
        _add_report(session, context, publish)
    tell_stale(session, run.model_id)
    plan_run(session, run.model_id)


def close_audit(
    session: Session, audit: Audit, verdict: str, result: dict[str, Any], publish: Publish
) -> None:
    """Report an audit; no version changes, and no report of a request either."""
    audit.verdict, audit.closed_at = verdict, now(session)
    move(session, audit, AuditStatus.COMPLETED, verdict=verdict)
    _add_report(session, context_of_any_audit(session, audit, result), publish)


def promote(session: Session, base: ModelVersion, candidate: ModelVersion) -> bool:
    """Make the candidate current if its base still is; compare and swap, so a stale base loses."""
    moment = now(session)
    session.flush()
    swapped = session.execute(
        update(ModelVersion)
        .where(ModelVersion.id == base.id, ModelVersion.state == VersionState.CURRENT)
        .values(superseded_at=moment)
        .execution_options(synchronize_session=False)
    )
    if cast("CursorResult[Any]", swapped).rowcount != 1:
        return False
    session.refresh(base)
    move(session, base, VersionState.SUPERSEDED, number=base.number)
    session.flush()  # the old one has to be out of the way of the unique index
    move(session, candidate, VersionState.CURRENT, number=candidate.number)
    candidate.promoted_at = moment
    session.flush()
    return True


def promote_first(session: Session, model: Model) -> None:
    """Make a checked model's version 1 current."""
    query = select(ModelVersion).where(ModelVersion.model_id == model.id, ModelVersion.number == 1)
    version = session.scalars(query).one()
    move(session, version, VersionState.CURRENT, number=1)
    version.promoted_at = now(session)
    session.flush()


def _give_back(session: Session, run: Run) -> None:
    """End a run whose base was superseded under it and let its requests wait again."""
    for request in requests_of(session, run):
        move(session, request, RequestStatus.PENDING, code="stale_base")
        request.run_id = request.base_version_id = None
    session.flush()
    finish_run(session, run, RunState.FAILED, "Its base version is no longer the current one.")
    plan_run(session, run.model_id)


def _add_report(session: Session, context: ReportContext, publish: Publish) -> None:
    """Sign and keep one report; its digest goes into the audit log."""
    signed = publish(context)
    subject, is_audit = context.subject, context.subject.kind == "audit"
    report = Report(
        id=new_id(),
        tenant_id=context.tenant_id,
        request_id=None if is_audit else subject.id,
        audit_id=subject.id if is_audit else None,
        verdict=context.verdict,
        envelope=signed.envelope,
        sha256=signed.sha256,
        statement=signed.statement,
        html=signed.html,
        figures=list(context.figures),
        created_at=now(session),
    )
    session.add(report)
    session.flush()
    record(session, report, "signed", sha256=signed.sha256, verdict=context.verdict)
