"""A group of deletion requests as a caller sees it, and what it would cost."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from service import tables
from service.estimates import RequestEstimate
from service.ledger.request_groups import GroupPrice
from service.request_resources import Status
from service.resources import Links

GroupStatus = Literal["pending", "in_progress", "on_hold", "completed", "cancelled", "failed"]


class LeftOut(BaseModel):
    """A model of the data set that got no request, and why."""

    model_id: uuid.UUID
    code: Literal["by_caller", "holds_none", "model_rejected"] = Field(
        description="`holds_none`: it never learned the samples, or they were erased from it."
    )


class Member(BaseModel):
    """The deletion request for one model of the group."""

    id: uuid.UUID
    model_id: uuid.UUID
    status: Status
    verdict: str | None
    reason_code: str | None
    num_samples: int
    due_at: datetime
    result_version: int | None
    closed_at: datetime | None
    links: Links

    @classmethod
    def of(cls, row: tables.DeletionRequest, result_version: int | None) -> Self:
        """Return what a caller sees of a row."""
        links = Links.of("deletion-requests", row.id)
        own = set(cls.model_fields) - {"result_version", "links"}
        values = {name: getattr(row, name) for name in own}
        return cls(result_version=result_version, links=links, **values)


class GroupLinks(BaseModel):
    """Where the group is."""

    self: str


class RequestGroup(BaseModel):
    """Deletion requests that were made together, one for each model of a data set."""

    id: uuid.UUID
    dataset_id: uuid.UUID
    status: GroupStatus = Field(
        description="`completed` only when all members are; else, once all are closed, as the "
        "worst of them."
    )
    subject_request_id: str | None
    regulation: str
    submitted_time: datetime
    due_at: datetime = Field(description="The earliest deadline of a member that is open.")
    days_left: int | None
    num_samples: int
    members: list[Member]
    left_out: list[LeftOut]
    created_by: str
    created_at: datetime
    closed_at: datetime | None
    links: GroupLinks

    @classmethod
    def of(
        cls,
        row: tables.RequestGroup,
        members: Sequence[tables.DeletionRequest],
        versions: Sequence[int | None],
        now: datetime,
    ) -> Self:
        """Return what a caller sees of a row; `versions` are the members' result versions."""
        still = [member for member in members if member.closed_at is None]
        due_at = min(member.due_at for member in still or members)
        computed: dict[str, Any] = {
            "regulation": members[0].regulation,
            "submitted_time": members[0].submitted_time,
            "due_at": due_at,
            "days_left": (due_at - now).days if still else None,
            "members": [Member.of(*pair) for pair in zip(members, versions, strict=True)],
            "left_out": [LeftOut.model_validate(entry) for entry in row.left_out],
            "links": GroupLinks(self=f"/v1/deletion-request-groups/{row.id}"),
        }
        own = set(cls.model_fields) - set(computed)
        return cls(**computed, **{name: getattr(row, name) for name in own})


class GroupEstimate(BaseModel):
    """What a group would do and cost, were it made now; nothing was written."""

    dry_run: Literal[True] = True
    dataset_id: uuid.UUID
    members: list[RequestEstimate] = Field(description="Their hours add up.")
    left_out: list[LeftOut]

    @classmethod
    def of(cls, dataset_id: uuid.UUID, price: GroupPrice) -> Self:
        """Return what a caller sees of a price."""
        return cls(
            dataset_id=dataset_id,
            members=[RequestEstimate.of(*member) for member in price.members],
            left_out=[LeftOut.model_validate(entry) for entry in price.left_out],
        )
