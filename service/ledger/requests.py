"""Deletion requests come in here."""

from dataclasses import dataclass, replace
from datetime import UTC

from pyroaring import BitMap
from sqlalchemy import insert
from sqlalchemy.orm import Session

from service.bitmaps import pack
from service.commitment import Commitment, commit
from service.database import now
from service.errors import Conflict
from service.ledger.approvers import needs_approval, refuse_without_approver
from service.ledger.copies import add_copies, equal_files, sample_ids_of
from service.ledger.deadlines import REGIMES, due_at
from service.ledger.log import take_turn
from service.ledger.named import NamedSamples, equal_ordinals, named_now
from service.ledger.orders import Caller, RequestOrder
from service.ledger.planning import plan_run
from service.ledger.qualified import unqualified_methods
from service.ledger.samples import Standing, add_erased, standing
from service.ledger.states import record
from service.ledger.subjects import known_as, order_digest, refuse_number_taken
from service.ledger.terms import checked_terms, refuse_emptying, refuse_taken, usable_model
from service.origins import Origin
from service.policies import load_policy
from service.quotas import refuse_full
from service.tables import (
    DeletionRequest,
    Model,
    RequestGroup,
    RequestSamples,
    RequestStatus,
    new_id,
)


@dataclass(frozen=True)
class CheckedOrder:
    """An order that can be accepted, with its forget set and the copies of it that were found.

    `order` names what `included` adds too; `left` and `in_holdout` are copies outside the set;
    `standing` is what it met then.
    """

    model: Model
    order: RequestOrder
    commitment: Commitment
    ordinals: BitMap
    included: BitMap
    left: BitMap
    in_holdout: BitMap
    standing: Standing


def open_request(
    session: Session, caller: Caller, order: RequestOrder, early: NamedSamples | None = None
) -> DeletionRequest:
    """Accept a request: its samples come into E for ever, and a run is planned if none is active.

    Training samples whose files equal a named one's are counted, and come too where the order says
    so: then they are in the forget set, the commitment and E like any other. `early`: what
    `named_early` found.

    Raises:
        NotFound: the model.
        Conflict: `quota_exceeded`, `model_rejected`, `already_erased` or `already_requested` for
            this model, `subject_request_exists`, `qualification_missing` where the audit level is
            `qualified`, `no_approver` where the candidate would wait for nobody.
        Unprocessable: `recipe_required`, `nothing_left`, an unknown policy or regulation, a
            ladder as in `checked_ladder`, or sample ids as in `resolve_training_samples`.
    """
    take_turn(session, caller.tenant_id)
    checked = check_request(session, caller, order, early)
    request = accept_request(session, caller, checked, before=checked.standing)
    plan_run(session, checked.model.id)
    return request


def accept_request(
    session: Session,
    caller: Caller,
    checked: CheckedOrder,
    group: RequestGroup | None = None,
    before: Standing | None = None,
) -> DeletionRequest:
    """Write down a request that was checked, let E grow by its samples, and plan no run yet.

    `before`: what was read since this tenant's turn began, where nothing was written after it.

    Raises:
        Conflict: `quota_exceeded`.
    """
    met = before or standing(session, checked.model)
    if met.full:
        refuse_full(session, "open_requests")
    model, ordinals = checked.model, checked.ordinals
    request = new_request(session, caller, checked)
    if group is not None:
        request.group_id, request.subject_request_id = group.id, group.subject_request_id
    _keep_samples(session, request, ordinals)
    num_included, num_left = len(checked.included), len(checked.left)
    add_copies(session, request, checked.left | checked.in_holdout, num_included)
    total = add_erased(session, model.dataset_id, ordinals, met.erased)
    facts: dict[str, object] = {"samples": len(ordinals), "erased": total}
    facts |= {"commitment": request.commitment_root}
    facts |= {"equal_copies_included": num_included, "equal_copies_left": num_left}
    facts |= {} if group is None else {"group": str(group.id)}
    record(session, request, "received", caller.actor, **facts)
    return request


def check_request(
    session: Session, caller: Caller, order: RequestOrder, early: NamedSamples | None = None
) -> CheckedOrder:
    """Refuse what `open_request` refuses, and write nothing."""
    model = usable_model(session, caller, order.model_id)
    order = checked_terms(order)
    load_policy(order.policy)
    refuse_number_taken(session, caller, order.subject_request_id)
    if needs_approval(session, order):
        refuse_without_approver(session, caller)
    _refuse_unqualified(session, order)
    met = standing(session, model)
    named = named_now(session, model, met.revision, order.sample_ids, early)
    ordinals = named.ordinals
    refuse_taken(session, model, ordinals, met.erased)
    copies, in_holdout = equal_files(session, model, ordinals, equal_ordinals(session, named))
    included = copies if order.include_duplicates == "byte_equal" else BitMap()
    if included:
        names = sample_ids_of(session, model.dataset_id, included)
        order = replace(order, sample_ids=[*order.sample_ids, *names])
        ordinals = ordinals | included
    refuse_emptying(session, model, ordinals, met.erased)
    left = copies - included
    commitment = (None if included else named.commitment) or commit(order.sample_ids)
    return CheckedOrder(model, order, commitment, ordinals, included, left, in_holdout, met)


def _keep_samples(session: Session, request: DeletionRequest, ordinals: BitMap) -> None:
    session.add(request)
    session.flush()
    values = {"request_id": request.id, "tenant_id": request.tenant_id, "ordinals": pack(ordinals)}
    session.connection().execute(insert(RequestSamples), values)


def repeated_request(
    session: Session, caller: Caller, subject_request_id: str | None, stated: bytes
) -> DeletionRequest | None:
    """Return what `known_request` does, once it is this transaction's turn."""
    take_turn(session, caller.tenant_id)
    return known_request(session, caller, subject_request_id, stated)


def known_request(
    session: Session, caller: Caller, subject_request_id: str | None, stated: bytes
) -> DeletionRequest | None:
    """Return the request that this one repeats, or raise, as `known_as`."""
    return known_as(session, caller, DeletionRequest, subject_request_id, stated)


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


def new_request(session: Session, caller: Caller, checked: CheckedOrder) -> DeletionRequest:
    """Return a row for an order that was checked; nothing is written."""
    order, salt = checked.order, checked.commitment.salt
    policy, received, origin = load_policy(order.policy), now(session), Origin.present()
    asked = min(order.submitted_time or received, received)
    return DeletionRequest(
        id=new_id(),
        tenant_id=caller.tenant_id,
        model_id=order.model_id,
        subject_request_id=order.subject_request_id,
        regulation=order.regulation,
        submitted_time=(order.submitted_time or received).astimezone(UTC),
        received_at=received,
        due_at=due_at(asked, order.regulation),
        due_rule=REGIMES[order.regulation].rule,
        needs_approval=needs_approval(session, order),
        order_digest=order_digest(salt, order.stated) if order.stated else None,
        num_samples=len(checked.ordinals),
        policy_name=policy.name,
        policy_version=policy.version,
        policy_digest=policy.digest,
        ladder=list(order.ladder),
        audit=order.audit,
        pool=order.pool,
        commitment_root=checked.commitment.root,
        commitment_salt=salt,
        status=RequestStatus.PENDING,
        created_by=caller.actor,
        origin=origin.request_id,
        traceparent=origin.traceparent,
    )
