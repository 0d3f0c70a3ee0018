"""Bodies of responses about later audits of closed requests."""

import uuid
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from service import tables

Purpose = Literal["external", "upgrade", "reproduction"]


class Difference(BaseModel):
    """One figure that did not come out as it was signed."""

    figure: str = Field(description="Its path in the statement; entries of lists go by name.")
    recorded: Any
    found: Any
    note: str | None = Field(default=None, description="Which side lacks the figure, if one does.")


class NotCompared(BaseModel):
    """One figure that could not be compared."""

    figure: str
    why: str


class ComparedReferences(BaseModel):
    """The references of both audits, by seed."""

    seeds: list[int]
    other_weights: list[int] = Field(description="Seeds whose weights are not those of the report.")


class Comparison(BaseModel):
    """What a reproduction found; `reproduced` says nothing of what could not be compared."""

    reproduced: bool
    exact: bool = Field(description="Same machine, library versions and references as then.")
    tolerance: float = Field(description="Relative; 0 where `exact`.")
    compared: int
    differences: list[Difference]
    not_compared: list[NotCompared]
    references: ComparedReferences

    @classmethod
    def of(cls, found: Mapping[str, Any] | None) -> Self | None:
        """Return what a caller sees of a comparison."""
        return None if found is None else cls.model_validate(found)


class RequestAudit(BaseModel):
    """A later audit of a closed request, as the request links to it."""

    id: uuid.UUID
    purpose: Purpose
    status: Literal["in_progress", "completed", "failed"]
    verdict: str | None
    reproduced: bool | None = Field(description="Null unless it is a completed reproduction.")
    url: str
    report: str

    @classmethod
    def of(cls, row: tables.Audit, link: tables.RequestAudit) -> Self:
        """Return what a caller sees of an audit beside its request."""
        url, found = f"/v1/audits/{row.id}", link.comparison
        return cls(
            id=row.id,
            purpose=row.purpose.value,
            status=row.status.value,
            verdict=row.verdict,
            reproduced=None if found is None else found["reproduced"],
            url=url,
            report=f"{url}/report",
        )
