"""Bodies of responses about copies of requested samples."""

import uuid
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service import ledger


class NearDuplicates(BaseModel):
    """Copies of a request's samples under other ids, as they were found; counts only.

    `byte_equal`: training samples outside the request with the same file, once a worker looked the
    same pixels. `near`: those whose picture is nearly the same, null until a worker looked.
    """

    model_config = ConfigDict(from_attributes=True)
    byte_equal: int
    near: int | None
    in_holdout: int = Field(description="Copies of both kinds among samples never trained on.")
    included: int = Field(description="Byte-equal copies that came with `include_duplicates`.")
    advice: str | None = Field(default=None, description="What to do about what is left.")

    @classmethod
    def of(cls, counts: ledger.CopyCounts | None, request_id: uuid.UUID) -> Self | None:
        """Return what a caller sees of the counts."""
        if counts is None:
            return None
        told = cls.model_validate(counts)
        if counts.byte_equal or counts.near:
            told.advice = (
                "Copies live on under other ids and keep teaching the model what it should forget. "
                f"GET /v1/deletion-requests/{request_id}/duplicates names them; request them too. "
                "`include_duplicates` adds those with equal files to a request at once."
            )
        return told


class FoundCopy(BaseModel):
    """One copy of a requested sample, under an id of its own."""

    sample_id: str
    label: int
    class_name: str
    split: Literal["train", "holdout"]
    kind: Literal["byte_equal", "near"]
    erased: bool = Field(description="Whether it was accepted for erasure since.")

    @classmethod
    def of(cls, copy: ledger.FoundCopy, class_names: list[str]) -> Self:
        """Return what a caller sees of a copy."""
        return cls.model_validate({**copy._asdict(), "class_name": class_names[copy.label]})
