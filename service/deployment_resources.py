"""Bodies about deployments: what an owner attests, and what a caller sees."""

import uuid
from datetime import datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.ledger.deployments import Placed

Word = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._:/@+-]+$")]


class DeploymentOrder(BaseModel):
    """Attest that a version serves in an environment."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "version": 2,
                    "environment": "production-eu",
                    "deployed_by": "release-pipeline",
                    "deployed_at": "2026-11-27T09:30:00Z",
                }
            ]
        },
    )
    version: int = Field(ge=1, lt=2**31)
    environment: Word = Field(description="Where it serves; one version at a time.")
    deployed_by: Word = Field(description="A pipeline, team or role; no person's name.")
    deployed_at: AwareDatetime | None = Field(
        default=None, description="Since when it serves; default: now."
    )


class Deployment(BaseModel):
    """A version that serves, or served, in an environment, as its owner attested."""

    id: uuid.UUID
    model_id: uuid.UUID
    version: int
    environment: str
    deployed_by: str
    deployed_at: datetime
    ended_at: datetime | None
    attested_by: str
    attested_at: datetime
    erased_samples: int = Field(description="Samples that were erased and the version holds.")
    stale_since: datetime | None = Field(description="Since when it serves erased data.")

    @classmethod
    def of(cls, one: Placed) -> Self:
        """Return what a caller sees of a deployment."""
        own = set(cls.model_fields) - {"version", "erased_samples", "stale_since"}
        return cls(
            version=one.version.number,
            erased_samples=one.held.samples,
            stale_since=one.stale_since,
            **{name: getattr(one.row, name) for name in own},
        )
