"""One wish over all models of a data set: a group with one deletion request for each model.

All members come in one transaction or none does. A sample that a model never learned, or that a
completed request erased from it, is left out of that model's member.
"""

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import unpack
from service.commitment import new_salt
from service.database import now
from service.errors import Conflict, NotFound, ServiceError, Unprocessable
from service.ledger.log import take_turn
from service.ledger.named import training_ordinals
from service.ledger.orders import Caller, RequestOrder
from service.ledger.planning import plan_run
from service.ledger.pricing import Price, price_request
from service.ledger.reading import get_dataset
from service.ledger.requests import CheckedOrder, accept_request, check_request
from service.ledger.samples import trained_on, training_set
from service.ledger.states import follow_members, record
from service.ledger.subjects import known_as, order_digest, refuse_number_taken
from service.tables import GroupStatus, Model, ModelStatus, RequestGroup, new_id


@dataclass(frozen=True, kw_only=True)
class GroupOrder:
    """A wish that all models of a data set forget samples.

    `member` returns the order for one model, with all the samples that are named and without the
    number, which is the group's. `leave_out` names models that get no member.
    `subject_request_id` and `stated` as in `RequestOrder`.
    """

    dataset_id: uuid.UUID
    member: Callable[[uuid.UUID], RequestOrder]
    leave_out: Collection[uuid.UUID] = ()
    subject_request_id: str | None = None
    stated: bytes = b""


@dataclass(frozen=True)
class GroupPrice:
    """What each member would take; {model_id, code} for each model without one."""

    members: list[tuple[uuid.UUID, Price]]
    left_out: list[dict[str, str]]


@dataclass(frozen=True)
class _Members:
    orders: list[tuple[Model, RequestOrder]]
    left_out: list[dict[str, str]]


def open_group(session: Session, caller: Caller, order: GroupOrder) -> RequestGroup:
    """Accept a request for each model of a data set that still holds samples of it.

    Raises:
        NotFound: the data set, or a model to leave out that is not of it.
        Conflict: `subject_request_exists`, `already_erased` from every model, and what
            `open_request` refuses of one of them, which `model_id` names.
        Unprocessable: `no_models`, `no_samples`, and the same.
    """
    take_turn(session, caller.tenant_id)
    found = _members(session, caller, order)
    checked: list[CheckedOrder] = []
    for model, wish in found.orders:
        with _naming(model):
            checked.append(check_request(session, caller, wish))
    salt = new_salt()
    group = RequestGroup(
        id=new_id(),
        tenant_id=caller.tenant_id,
        dataset_id=order.dataset_id,
        subject_request_id=order.subject_request_id,
        order_digest=order_digest(salt, order.stated) if order.stated else None,
        order_salt=salt,
        num_samples=len(BitMap.union(BitMap(), *(one.ordinals for one in checked))),
        left_out=found.left_out,
        status=GroupStatus.PENDING,
        created_by=caller.actor,
        created_at=now(session),
    )
    session.add(group)
    session.flush()
    facts = {"members": len(checked), "samples": group.num_samples}
    record(session, group, "received", caller.actor, left_out=len(found.left_out), **facts)
    for one in checked:
        accept_request(session, caller, one, group)
    for one in checked:
        plan_run(session, one.model.id)
    follow_members(session, group)
    session.flush()
    return group


def price_group(session: Session, caller: Caller, order: GroupOrder) -> GroupPrice:
    """Check a group as `open_group` does, and price its members instead of accepting them.

    Raises:
        ServiceError: what `open_group` raises.
    """
    found = _members(session, caller, order)
    priced = []
    for model, wish in found.orders:
        with _naming(model):
            priced.append((model.id, price_request(session, caller, wish)))
    return GroupPrice(priced, found.left_out)


def repeated_group(
    session: Session, caller: Caller, subject_request_id: str | None, stated: bytes
) -> RequestGroup | None:
    """Return what `known_group` does, once it is this transaction's turn."""
    take_turn(session, caller.tenant_id)
    return known_group(session, caller, subject_request_id, stated)


def known_group(
    session: Session, caller: Caller, subject_request_id: str | None, stated: bytes
) -> RequestGroup | None:
    """Return the group that this wish repeats, or raise, as `known_as`."""
    return known_as(session, caller, RequestGroup, subject_request_id, stated)


def _members(session: Session, caller: Caller, order: GroupOrder) -> _Members:
    """Return what is asked of each model that has something to forget."""
    get_dataset(session, caller, order.dataset_id)
    refuse_number_taken(session, caller, order.subject_request_id)
    query = select(Model).where(Model.dataset_id == order.dataset_id).order_by(Model.id)
    models = session.scalars(query.execution_options(populate_existing=True)).all()
    if set(order.leave_out) - {model.id for model in models}:
        raise NotFound("model of this data set")
    if not models:
        raise Unprocessable("no_models", "No model of this data set is registered.")
    found, any_named = _Members([], []), False
    for model in models:
        if model.id in order.leave_out or model.status == ModelStatus.REJECTED:
            code = "by_caller" if model.id in order.leave_out else "model_rejected"
        else:
            wish = order.member(model.id)
            own, code = _own_part(session, model, wish), "holds_none"
            any_named = any_named or bool(wish.sample_ids)
            if own is not None:
                found.orders.append((model, own))
                continue
        found.left_out.append({"model_id": str(model.id), "code": code})
    if not found.orders and not any_named:
        raise Unprocessable("no_samples", "No sample is named that some model still holds.")
    if not found.orders:
        detail = "None of the models that are not left out holds any of the samples."
        raise Conflict("already_erased", detail, left_out=found.left_out)
    return found


def _own_part(session: Session, model: Model, wish: RequestOrder) -> RequestOrder | None:
    """Return a model's order with the samples that it learned and that were not erased from it."""
    if not wish.sample_ids:
        return None
    known = training_ordinals(session, model.dataset_id, wish.sample_ids)
    held = training_set(trained_on(session, model)) - unpack(model.erased)
    own = [name for name in wish.sample_ids if known[name] in held]
    return replace(wish, sample_ids=own) if own else None


@contextmanager
def _naming(model: Model) -> Iterator[None]:
    """Let a refusal of one member name its model."""
    try:
        yield
    except ServiceError as error:
        error.extensions.setdefault("model_id", str(model.id))
        raise
