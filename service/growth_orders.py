"""The body that adds samples to a data set."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class GrowthOrder(BaseModel):
    """Add samples to a data set by a manifest of the new ones alone, in the data set's root."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"manifest_uri": "digits/more.parquet"}]}
    )
    manifest_uri: str | None = Field(default=None, max_length=4096)
    format: Literal["parquet", "csv", "image_parquet", "image_folder"] | None = None
