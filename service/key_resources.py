"""Bodies about API keys: what a caller orders and sees. A key is seen once, when it is made."""

import uuid
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service import tables
from service.bounds import AwareMoment
from service.keys import ROLES, SCOPES
from service.schemas import Name

ScopeName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z:]+$")]


class KeyOrder(BaseModel):
    """Make a key with the scopes of a role, with these, or both; none that the maker lacks."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "audit 2026", "role": "auditor", "expires_at": "2027-01-31T00:00:00Z"},
                {"name": "crm", "scopes": ["requests:write", "requests:read"]},
            ]
        },
    )
    name: Name
    role: Literal["auditor", "approver", "operator", "admin"] | None = Field(
        default=None,
        description="; ".join(f"`{role}`: {', '.join(sorted(ROLES[role]))}" for role in ROLES),
    )
    scopes: list[ScopeName] = Field(
        default=[],
        max_length=50,
        description=f"Of {', '.join(sorted(SCOPES))}. Without these and a role: the maker's.",
    )
    expires_at: AwareMoment | None = Field(
        default=None, description="Default, and at the latest: when the maker's own key expires."
    )


class KeyRotationOrder(BaseModel):
    """Make another secret for a key."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"grace_s": 3600}]})
    grace_s: int = Field(
        default=86_400,
        ge=0,
        le=30 * 86_400,
        description="How long the present secret is still valid, in seconds.",
    )


class Key(BaseModel):
    """An API key without its secret; `last_used_at` is exact to a minute."""

    model_config = ConfigDict(from_attributes=True)
    id: uuid.UUID
    name: str
    prefix: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    rotated_at: datetime | None
    previous_until: datetime | None = Field(
        description="Until when the secret before the last rotation is valid."
    )
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: tables.ApiKey) -> Self:
        """Return what a caller sees of a row."""
        return cls.model_validate(row)


class KeyWithSecret(Key):
    """A key with the token that was just made for it."""

    key: str = Field(
        description="`ex_live_…`: keep it, it is not shown again.",
        examples=["ex_live_7Kq2mB9xTz_…"],
    )

    @classmethod
    def made(cls, row: tables.ApiKey, token: str) -> Self:
        """Return what its maker sees, this once."""
        return cls(**Key.of(row).model_dump(), key=token)
