"""Turn the body that asks for an erasure into orders for the ledger."""

import uuid
from dataclasses import replace

from sqlalchemy.orm import Session

from service import ledger
from service.dependencies import Parts
from service.ledger import Caller, RequestOrder
from service.ledger.named import NamedSamples
from service.ledger.request_groups import GroupOrder
from service.schemas import DeletionOrder
from service.targets import chosen_sample_ids

_OF_GROUPS = {"dataset_id", "leave_out"}


def stated(order: DeletionOrder) -> bytes:
    """Return what was asked, by which it is recognised when it comes again.

    Members that only a group has are left out of a single request's words, so that these stay what
    they were before there were groups.
    """
    left = {"dry_run"} if order.model_id is None else {"dry_run", *_OF_GROUPS}
    return order.model_dump_json(exclude=left).encode()


def early_look(parts: Parts, caller: Caller, order: DeletionOrder) -> NamedSamples | None:
    """Look up the samples of an order that names nothing else, before the tenant's turn.

    Outside of the transaction that waits for the turn, which must hold no table's lock meanwhile: a
    migration takes several, one after the other. Copies that come too are looked for in the
    turn: rows of erased ones may be dropped before.
    """
    plain = not (order.labels or order.subject_ids) and order.include_duplicates == "none"
    if order.model_id is None or not plain or len(order.sample_ids) > parts.settings.max_sample_ids:
        return None
    with parts.database.look() as session:
        return ledger.named_early(session, caller, order.model_id, order.sample_ids)


def request_wish(
    session: Session, parts: Parts, caller: Caller, order: DeletionOrder, model_id: uuid.UUID
) -> RequestOrder:
    """Return the order for one model, its samples by id.

    A member of a group names what an open request is about to erase too, and is refused: if that
    one were withdrawn, the group would be completed while the model still holds the samples.

    Raises:
        ServiceError: what `chosen_sample_ids` raises.
    """
    most = parts.settings.max_sample_ids
    return RequestOrder(
        model_id=model_id,
        sample_ids=chosen_sample_ids(
            session, caller, model_id, order, most, requested_too=order.dataset_id is not None
        ),
        subject_request_id=order.subject_request_id,
        regulation=order.regulation,
        submitted_time=order.submitted_time,
        policy=order.policy,
        ladder=[rung.plain for rung in order.ladder or ()] or ledger.DEFAULT_LADDER,
        audit=order.audit,
        include_duplicates=order.include_duplicates,
        plugins=parts.settings.plugin_methods,
        approval=order.approval,
        pool=order.pool,
        stated=stated(order),
    )


def group_wish(
    session: Session, parts: Parts, caller: Caller, order: DeletionOrder, dataset_id: uuid.UUID
) -> GroupOrder:
    """Return the order for all models of a data set; `member` reads with this session."""

    def member(model_id: uuid.UUID) -> RequestOrder:
        return replace(
            request_wish(session, parts, caller, order, model_id),
            subject_request_id=None,
            stated=b"",
        )

    return GroupOrder(
        dataset_id=dataset_id,
        member=member,
        leave_out=order.leave_out,
        subject_request_id=order.subject_request_id,
        stated=stated(order),
    )
