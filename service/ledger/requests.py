"""Deletion requests come in here, and may be withdrawn until they are closed."""

import uuid
from dataclasses import replace

from pyroaring import BitMap
from sqlalchemy.orm import Session

from service.bitmaps import pack
from service.commitment import merkle_root, new_salt
from service.database import now
from service.errors import Conflict
from service.ledger.copies import add_copies, equal_files, sample_ids_of
from service.ledger.log import take_turn
from service.ledger.orders import Caller, RequestOrder
from service.ledger.planning import finish_run, plan_run, requests_of, restart_without_lost
from service.ledger.qualified import unqualified_methods
from service.ledger.reading import get_request
from service.ledger.samples import add_erased, resolve_training_samples
from service.ledger.states import move, record
from service.ledger.terms import (
    DUE_RULES,
    checked_terms,
    due_at,
    refuse_emptying,
    refuse_taken,
    usable_model,
)
from service.policies import load_policy
from service.tables import DeletionRequest, RequestSamples, RequestStatus, Run, RunState, new_id


def open_request(session: Session, caller: Caller, order: RequestOrder) -> DeletionRequest:
    """Accept a request: its samples come into E for ever, and a run is planned if none is active.

    Training samples whose files equal a named one's are counted, and come too where the order says
    so: then they are in the forget set, the commitment and E like any other.

    Raises:
        NotFound: the model.
        Conflict: `model_rejected`, `already_erased` or `already_requested` for this model,
            `qualification_missing` where the audit level is `qualified`.
        Unprocessable: `recipe_required`, `nothing_left`, an unknown policy or regulation, a
            ladder as in `checked_ladder`, or sample ids as in `resolve_training_samples`.
    """
    take_turn(session, caller.tenant_id)
    model = usable_model(session, caller, order.model_id)
    order = checked_terms(order)
    _refuse_unqualified(session, order)
    ordinals = resolve_training_samples(session, model, order.sample_ids)
    refuse_taken(session, model, ordinals)
    copies, in_holdout = equal_files(session, model, ordinals)
    included = copies if order.include_duplicates == "byte_equal" else BitMap()
    if included:
        names = sample_ids_of(session, model.dataset_id, included)
        order = replace(order, sample_ids=[*order.sample_ids, *names])
        ordinals |= included
    refuse_emptying(session, model, ordinals)
    request = _new_request(session, caller, order, len(ordinals))
    _keep_samples(session, request, ordinals)
    left = copies - included
    add_copies(session, request, left | in_holdout, len(included))
    total = add_erased(session, model.dataset_id, ordinals)
    facts = {"samples": len(ordinals), "commitment": request.commitment_root, "erased": total}
    facts |= {"equal_copies_included": len(included), "equal_copies_left": len(left)}
    record(session, request, "received", caller.actor, **facts)
    plan_run(session, model.id)
    return request


def _keep_samples(session: Session, request: DeletionRequest, ordinals: BitMap) -> None:
    session.add(request)
    session.flush()
    session.add(
        RequestSamples(request_id=request.id, tenant_id=request.tenant_id, ordinals=pack(ordinals))
    )


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


def _refuse_unqualified(session: Session, order: RequestOrder) -> None:
    """Refuse the level `qualified` unless every approximate method has a live qualification.

    Trials use a method's defaults, so none speaks for other hyper-parameters.
    """
    if order.audit != "qualified":
        return
    digest = load_policy(order.policy).digest
    missing = unqualified_methods(session, order.model_id, list(order.ladder), digest)
    if missing:
        detail = (
            f"No live qualification on this model, under this policy, of: {', '.join(missing)}."
            " Trials are made with a method's default hyper-parameters."
            f" Post one to /v1/models/{order.model_id}/qualifications and wait until it is live,"
            " leave these methods out, or ask for the audit level `references`."
        )
        raise Conflict("qualification_missing", detail, methods=missing)


def _new_request(
    session: Session, caller: Caller, order: RequestOrder, num_samples: int
) -> DeletionRequest:
    policy = load_policy(order.policy)
    salt, received = new_salt(), now(session)
    return DeletionRequest(
        id=new_id(),
        tenant_id=caller.tenant_id,
        model_id=order.model_id,
        subject_request_id=order.subject_request_id,
        regulation=order.regulation,
        submitted_time=order.submitted_time or received,
        received_at=received,
        due_at=due_at(received, order.regulation),
        due_rule=DUE_RULES[order.regulation],
        num_samples=num_samples,
        policy_name=policy.name,
        policy_version=policy.version,
        policy_digest=policy.digest,
        ladder=list(order.ladder),
        audit=order.audit,
        pool=order.pool,
        commitment_root=merkle_root(salt, order.sample_ids),
        commitment_salt=salt,
        status=RequestStatus.PENDING,
        created_by=caller.actor,
    )
