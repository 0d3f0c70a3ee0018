"""The price of a deletion request, as a dry run tells it."""

import uuid
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service import ledger


class SecondsSpread(BaseModel):
    """Seconds that `n` such jobs took on this model."""

    model_config = ConfigDict(from_attributes=True)
    n: int
    least: float
    median: float
    most: float


class RungEstimate(BaseModel):
    """One method of the ladder."""

    model_config = ConfigDict(from_attributes=True)
    method: str
    unlearning: SecondsSpread | None = Field(description="Null: unknown, no history.")
    audit: SecondsSpread | None = Field(description="Null: unknown, no history.")


class ReferenceEstimate(BaseModel):
    """Retrained references: how many audits want, how many there are, seconds for each."""

    first_look: int
    last_look: int
    ready: int
    seconds_each: SecondsSpread | None = Field(description="Null: unknown, no history.")


class PoolEstimate(BaseModel):
    """The models that supply targets for single samples; see docs/pools.md."""

    needed: bool = Field(description="Asked for, and a method of the ladder would use it here.")
    seconds: SecondsSpread | None = Field(description="Null: unknown, no history.")


class ComputeHours(BaseModel):
    """From the cheapest case, closed by the first rung at the first look, to the dearest."""

    kind: Literal["cpu", "gpu"]
    least: float
    most: float


class CopyEstimate(BaseModel):
    """Samples whose files equal a requested one's; pixels are compared by the audit only."""

    included: int
    left: int
    in_holdout: int


class RequestEstimate(BaseModel):
    """What a deletion request would do and cost, were it made now; nothing was written."""

    dry_run: Literal[True] = True
    model_id: uuid.UUID
    num_samples: int
    scope: Literal["class", "instance", "mixed"]
    classes_emptied: list[str]
    num_retain: int
    copies: CopyEstimate
    ladder: list[RungEstimate]
    references: ReferenceEstimate
    pool: PoolEstimate
    compute_hours: ComputeHours | None = Field(description="Null: unknown, a part lacks history.")
    waits_for_run: bool = Field(description="Another run of the model has to end first.")
    due_at: datetime
    due_rule: str
    days_left: int

    @classmethod
    def of(cls, model_id: uuid.UUID, price: ledger.Price) -> Self:
        """Return what a caller sees of a price."""
        hours, reference = price.hours, price.reference
        kind: Literal["cpu", "gpu"] = "cpu" if price.device == "cpu" else "gpu"
        return cls(
            model_id=model_id,
            num_samples=price.num_samples,
            scope=price.scope,
            classes_emptied=price.classes_emptied,
            num_retain=price.num_retain,
            copies=CopyEstimate(
                included=price.copies_included,
                left=price.copies_left,
                in_holdout=price.copies_in_holdout,
            ),
            ladder=[RungEstimate.model_validate(rung) for rung in price.rungs],
            references=ReferenceEstimate(
                first_look=price.references_first_look,
                last_look=price.references_last_look,
                ready=price.references_ready,
                seconds_each=None if reference is None else SecondsSpread.model_validate(reference),
            ),
            pool=PoolEstimate(
                needed=price.pool_needed,
                seconds=None if price.pool is None else SecondsSpread.model_validate(price.pool),
            ),
            compute_hours=None
            if hours is None
            else ComputeHours(kind=kind, least=hours.least, most=hours.most),
            waits_for_run=price.waits_for_run,
            due_at=price.due_at,
            due_rule=price.due_rule,
            days_left=(price.due_at - price.priced_at).days,
        )
