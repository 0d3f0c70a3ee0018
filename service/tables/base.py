"""Declarative base, column types and the states that rows can be in."""

import uuid
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Annotated, Any, ClassVar

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, MetaData, String, TypeDecorator, Uuid
from sqlalchemy import Enum as SqlEnum
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column
from uuid_utils.compat import uuid7

JsonObject = dict[str, Any]
JsonList = list[Any]


def new_id() -> uuid.UUID:
    """Return a UUIDv7: unique, and in the order of creation."""
    return uuid7()


class UtcDateTime(TypeDecorator[datetime]):
    """An instant in UTC; a time without a zone is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert to UTC on the way in."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time needs a zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give SQLite's bare times, which are UTC, their zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables: named constraints, UTC times, UUID keys."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        },
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        uuid.UUID: Uuid(),
        str: String(),
        JsonObject: JSON().with_variant(JSONB(), "postgresql"),
        JsonList: JSON().with_variant(JSONB(), "postgresql"),
        Enum: SqlEnum(
            Enum,
            native_enum=False,
            create_constraint=False,
            length=16,
            values_callable=lambda states: [state.value for state in states],
        ),
    }


Key = Annotated[uuid.UUID, mapped_column(primary_key=True, default=new_id)]
TenantKey = Annotated[uuid.UUID, mapped_column(ForeignKey("tenants.id"), index=True)]


class ModelStatus(StrEnum):
    """Whether the weights are known to fit their architecture."""

    CHECKING = "checking"
    READY = "ready"
    REJECTED = "rejected"


class VersionState(StrEnum):
    """What became of a version's weights; at most one version of a model is current."""

    CANDIDATE = "candidate"
    CURRENT = "current"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    PURGED = "purged"


class RequestStatus(StrEnum):
    """Where a deletion request stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    ON_HOLD = "on_hold"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    FAILED = "failed"


class GroupStatus(StrEnum):
    """Where a group of deletion requests stands: `completed` only when all its members are."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    ON_HOLD = "on_hold"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class AuditStatus(StrEnum):
    """Where an audit of a candidate made elsewhere stands."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class AuditPurpose(StrEnum):
    """Why an audit was asked for; all but `external` are about a closed deletion request."""

    EXTERNAL = "external"
    UPGRADE = "upgrade"
    REPRODUCTION = "reproduction"


class RunState(StrEnum):
    """Where a run stands; at most one run of a model is active."""

    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class QualificationState(StrEnum):
    """Where a qualification stands; only a live one lets a run say QUALIFIED."""

    RUNNING = "running"
    LIVE = "live"
    UNQUALIFIED = "unqualified"
    EXPIRED = "expired"
    FAILED = "failed"


class JobKind(StrEnum):
    """What a worker has to do."""

    CHECK = "check"
    REFERENCE = "reference"
    UNLEARN = "unlearn"
    AUDIT = "audit"
    TRIAL = "trial"
    POOL = "pool"


class JobStatus(StrEnum):
    """Where a job stands: `waiting` for the jobs it needs, `queued` for a worker."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ReferenceState(StrEnum):
    """Whether a retrained reference can be used."""

    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"
    PURGED = "purged"


class PoolState(StrEnum):
    """Whether a pool's predictions can be used."""

    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"
    PURGED = "purged"


class EndpointState(StrEnum):
    """Whether a webhook endpoint is told of events; a deleted one is kept for its deliveries."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"
