"""Several models on one data set, and wishes over all of them."""

import uuid
from dataclasses import replace
from typing import Any

from service import ledger
from service.ledger import RequestOrder, group_acts, request_groups
from service.ledger.request_groups import GroupOrder
from service.tables import DeletionRequest, RequestGroup
from tests.service.ledger.world import World


def add_model(world: World, name: str = "other", **changes: Any) -> uuid.UUID:  # noqa: ANN401 - fields of a draft
    """Register one more model on the world's data set and let its check succeed."""
    with world.database.write() as session:
        draft = replace(world.model_draft(name=name), **changes)
        model_id = ledger.register_model(session, world.caller, draft).id
    world.work()
    return model_id


def group_order(world: World, *sample_ids: str, **fields: Any) -> GroupOrder:  # noqa: ANN401 - fields of the order
    """Return a wish that every model forget these samples."""

    def member(model_id: uuid.UUID) -> RequestOrder:
        return RequestOrder(model_id=model_id, sample_ids=sample_ids, policy="first-look")

    return GroupOrder(dataset_id=world.dataset_id, member=member, **fields)


def ask_all(world: World, *sample_ids: str, **fields: Any) -> uuid.UUID:  # noqa: ANN401 - fields of the order
    """Open a group and return its id."""
    with world.database.write() as session:
        order = group_order(world, *sample_ids, **fields)
        return request_groups.open_group(session, world.caller, order).id


def act(world: World, group_id: uuid.UUID, what: group_acts.Act, reason_code: str = "other") -> str:
    """Do something to a group and return its status."""
    with world.database.write() as session:
        row = group_acts.act_on_group(session, world.caller, group_id, what, reason_code)
        return str(row.status)


def group(world: World, group_id: uuid.UUID) -> tuple[RequestGroup, list[DeletionRequest]]:
    """Return a group and its members as they are now."""
    with world.database.read() as session:
        row = group_acts.get_group(session, world.caller, group_id)
        return row, group_acts.members_of(session, row)
