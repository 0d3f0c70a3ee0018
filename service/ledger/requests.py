"""Deletion requests come in and may be withdrawn; audits of foreign weights come in."""

import calendar
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from pyroaring import BitMap
from sqlalchemy.orm import Session

from service.bitmaps import digest, pack, unpack
from service.commitment import merkle_root, new_salt
from service.database import now
from service.errors import Conflict, NotFound, Unprocessable
from service.ledger.log import take_turn
from service.ledger.orders import AUDIT_LEVELS, METHODS, AuditOrder, Caller, RequestOrder
from service.ledger.planning import (
    RETRAIN,
    finish_run,
    plan_run,
    requests_of,
    restart_without_lost,
    start_look,
)
from service.ledger.reading import find_current, get_model, get_request, get_version
from service.ledger.samples import (
    add_erased,
    erased_ordinals,
    requested_ordinals,
    resolve_training_samples,
    training_set,
)
from service.ledger.states import move, record
from service.policies import load_policy
from service.tables import (
    Audit,
    AuditStatus,
    Dataset,
    DeletionRequest,
    Model,
    ModelStatus,
    ModelVersion,
    RequestSamples,
    RequestStatus,
    Run,
    RunState,
    new_id,
)

DUE_RULES = {
    "gdpr": "one calendar month after receipt (GDPR Art. 12(3))",
    "uk_gdpr": "one calendar month after receipt (UK GDPR Art. 12A)",
    "ccpa": "45 days after receipt (CCPA §1798.130)",
    "other": "one calendar month after receipt",
}


def open_request(session: Session, caller: Caller, order: RequestOrder) -> DeletionRequest:
    """Accept a request: its samples come into E for ever, and a run is planned if none is active.

    Raises:
        NotFound: the model.
        Conflict: `model_rejected`, `already_erased` or `already_requested` for this model.
        Unprocessable: `recipe_required`, `nothing_left`, an unknown policy, regulation or ladder,
            or sample ids as in `resolve_training_samples`.
    """
    take_turn(session, caller.tenant_id)
    model = _usable_model(session, caller, order.model_id)
    _check_terms(order)
    policy = load_policy(order.policy)
    ordinals = resolve_training_samples(session, model, order.sample_ids)
    _refuse_taken(session, model, ordinals)
    _refuse_emptying(session, model, ordinals)
    salt, received = new_salt(), now(session)
    request = DeletionRequest(
        id=new_id(),
        tenant_id=caller.tenant_id,
        model_id=model.id,
        subject_request_id=order.subject_request_id,
        regulation=order.regulation,
        submitted_time=order.submitted_time or received,
        received_at=received,
        due_at=due_at(received, order.regulation),
        due_rule=DUE_RULES[order.regulation],
        num_samples=len(ordinals),
        policy_name=policy.name,
        policy_version=policy.version,
        policy_digest=policy.digest,
        ladder=list(order.ladder),
        audit=order.audit,
        commitment_root=merkle_root(salt, order.sample_ids),
        commitment_salt=salt,
        status=RequestStatus.PENDING,
        created_by=caller.actor,
    )
    session.add(request)
    session.flush()
    session.add(
        RequestSamples(request_id=request.id, tenant_id=caller.tenant_id, ordinals=pack(ordinals))
    )
    total = add_erased(session, model.dataset_id, ordinals)
    facts = {"samples": len(ordinals), "commitment": request.commitment_root, "erased": total}
    record(session, request, "received", caller.actor, **facts)
    plan_run(session, model.id)
    return request


def cancel_request(session: Session, caller: Caller, request_id: uuid.UUID) -> DeletionRequest:
    """Withdraw a request that is not closed; its samples stay in E and may be requested again.

    A run that serves others too begins its rung anew without it; a run left empty ends.

    Raises:
        NotFound: no such request.
        Conflict: `already_closed`.
    """
    take_turn(session, caller.tenant_id)
    request = get_request(session, caller, request_id)
    if request.status not in (RequestStatus.PENDING, RequestStatus.IN_PROGRESS):
        raise Conflict("already_closed", f"The request is {request.status} already.")
    move(session, request, RequestStatus.CANCELLED, caller.actor)
    request.closed_at, request.reason_code = now(session), "cancelled_by_caller"
    request.reason = "The caller withdrew the request."
    session.flush()
    run = None if request.run_id is None else session.get(Run, request.run_id)
    if run is not None and run.state == RunState.ACTIVE:
        session.refresh(run)
        if requests_of(session, run):
            restart_without_lost(session, run)
        else:
            finish_run(session, run, RunState.CANCELLED, "All its requests were withdrawn.")
            plan_run(session, run.model_id)
    return request


def open_audit(session: Session, caller: Caller, order: AuditOrder) -> Audit:
    """Accept an audit of weights made elsewhere; it erases nothing and touches no version.

    Raises:
        NotFound: the model or the base version.
        Conflict: `model_rejected`, `model_not_ready`.
        Unprocessable: `recipe_required`, `nothing_left`, `unknown_policy`, or sample ids as in
            `resolve_training_samples`.
    """
    take_turn(session, caller.tenant_id)
    model = _usable_model(session, caller, order.model_id)
    if model.status != ModelStatus.READY:
        raise Conflict("model_not_ready", "The model's weights are still being checked.")
    base = _base_version(session, caller, order)
    policy = load_policy(order.policy)
    forget = resolve_training_samples(session, model, order.sample_ids)
    retain = _refuse_emptying(session, model, forget)
    salt = new_salt()
    audit = Audit(
        id=new_id(),
        tenant_id=caller.tenant_id,
        model_id=model.id,
        base_version_id=base.id,
        label=order.label,
        num_samples=len(forget),
        forget=pack(forget),
        erased=pack(erased_ordinals(session, model.dataset_id)),
        retain_digest=digest(retain),
        weights_uri=order.weights_uri,
        weights_sha256=order.weights_sha256,
        policy=policy.document,
        policy_digest=policy.digest,
        look=1,
        commitment_root=merkle_root(salt, order.sample_ids),
        commitment_salt=salt,
        status=AuditStatus.IN_PROGRESS,
        created_by=caller.actor,
        created_at=now(session),
    )
    session.add(audit)
    session.flush()
    facts = {"samples": len(forget), "commitment": audit.commitment_root}
    record(session, audit, "opened", caller.actor, weights_sha256=audit.weights_sha256, **facts)
    start_look(session, audit)
    return audit


def due_at(received: datetime, regulation: str = "gdpr") -> datetime:
    """Return the deadline: the same day of the next month, clipped to its last day (UTC)."""
    if regulation == "ccpa":
        return received + timedelta(days=45)
    year, month = received.year + received.month // 12, received.month % 12 + 1
    day = min(received.day, calendar.monthrange(year, month)[1])
    return received.replace(year=year, month=month, day=day)


def _usable_model(session: Session, caller: Caller, model_id: uuid.UUID) -> Model:
    model = get_model(session, caller, model_id)
    if model.status == ModelStatus.REJECTED:
        raise Conflict("model_rejected", f"The model cannot be used: {model.reason}")
    if model.recipe is None:
        raise Unprocessable(
            "recipe_required",
            "Without its training recipe nothing can be retrained, so no erasure of this model"
            " could be shown or guaranteed. Register the model with its recipe.",
        )
    return model


def _base_version(session: Session, caller: Caller, order: AuditOrder) -> ModelVersion:
    if order.base_version is not None:
        return get_version(session, caller, order.model_id, order.base_version)
    version = find_current(session, order.model_id)
    if version is None:
        raise NotFound("version")
    return version


def _check_terms(order: RequestOrder) -> None:
    if order.regulation not in DUE_RULES:
        known = ", ".join(DUE_RULES)
        _refuse("unknown_regulation", "/regulation", f"The regulations are: {known}.")
    if order.audit not in AUDIT_LEVELS:
        _refuse("unknown_audit", "/audit", f"The audit levels are: {', '.join(AUDIT_LEVELS)}.")
    _check_ladder(order.ladder)
    if order.audit == "none" and RETRAIN not in order.ladder:
        _refuse("retrain_required", "/ladder", "Without an audit only retrain closes a request.")


def _check_ladder(ladder: Sequence[str]) -> None:
    if not ladder or len(set(ladder)) != len(ladder):
        _refuse("bad_ladder", "/ladder", "A ladder names each of its methods once.")
    if any(method not in METHODS for method in ladder):
        _refuse("unknown_method", "/ladder", f"The methods are: {', '.join(METHODS)}.")
    if RETRAIN in ladder[:-1]:
        _refuse("bad_ladder", "/ladder", "retrain can only be the last rung.")


def _refuse(code: str, pointer: str, detail: str) -> None:
    raise Unprocessable(code, detail, [{"pointer": pointer, "detail": detail}])


def _refuse_taken(session: Session, model: Model, ordinals: BitMap) -> None:
    if erased := len(ordinals & unpack(model.erased)):
        detail = f"{erased} of the samples were erased from this model by a completed request."
        raise Conflict("already_erased", detail, count=erased)
    if taken := len(ordinals & requested_ordinals(session, model.id)):
        detail = f"{taken} of the samples are in another open request for this model."
        raise Conflict("already_requested", detail, count=taken)


def _refuse_emptying(session: Session, model: Model, ordinals: BitMap) -> BitMap:
    """Return what would be left to train on; refuse if that is nothing."""
    training = training_set(session.get_one(Dataset, model.dataset_id))
    retain = training - erased_ordinals(session, model.dataset_id) - ordinals
    if not retain:
        _refuse("nothing_left", "/sample_ids", "No training sample would be left.")
    return retain
