"""Bodies about webhooks: what a caller orders and sees. A secret is seen once, when it is made."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service import tables
from service.ledger.announcing import EVENT_TYPES, TEST_EVENT
from service.webhooks import message_id

MESSAGE_TYPES = tuple(sorted({*EVENT_TYPES, TEST_EVENT}))
State = Literal["enabled", "disabled"]
EventType = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z_.]+$")]


class EndpointOrder(BaseModel):
    """Register a URL that is told of events."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "url": "https://hooks.example.com/expunge",
                    "event_types": ["request.completed", "report.ready"],
                }
            ]
        },
    )
    url: str = Field(min_length=1, max_length=2000, description="https; a public host.")
    event_types: list[EventType] = Field(
        default=[],
        max_length=50,
        description=f"None named: all. They are: {', '.join(sorted(EVENT_TYPES))}.",
    )
    description: str | None = Field(default=None, max_length=200)


class RotationOrder(BaseModel):
    """Make another secret."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_s": 3600}]})
    overlap_s: int = Field(
        default=86_400,
        ge=0,
        le=7 * 86_400,
        description="How long the present secret signs too, in seconds.",
    )


class Endpoint(BaseModel):
    """A registered URL; `reason_code` says why it is disabled."""

    id: uuid.UUID
    url: str
    description: str | None
    event_types: list[str]
    state: State
    reason_code: str | None
    failing_since: datetime | None
    previous_secret_until: datetime | None
    created_by: str
    created_at: datetime
    links: dict[str, str]

    @classmethod
    def of(cls, row: tables.WebhookEndpoint, **more: Any) -> Self:  # noqa: ANN401 - fields
        """Return what a caller sees of a row."""
        path = f"/v1/webhook-endpoints/{row.id}"
        computed: dict[str, Any] = {
            "links": {"self": path, "deliveries": f"{path}/deliveries"},
            "previous_secret_until": row.previous_until,
        }
        own = set(Endpoint.model_fields) - set(computed)
        return cls(**computed, **{name: getattr(row, name) for name in own}, **more)


class EndpointWithSecret(Endpoint):
    """An endpoint with the secret that was just made for it."""

    secret: str = Field(
        description="`whsec_…`: keep it, it is not shown again.",
        examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
    )


class DeliveryAttempt(BaseModel):
    """One call: the status of the answer, or why there was none; neither while under way."""

    model_config = ConfigDict(from_attributes=True)
    number: int
    started_at: datetime
    milliseconds: int | None
    status_code: int | None
    error: str | None


class Delivery(BaseModel):
    """One message for one endpoint; `message_id` is its `webhook-id`."""

    id: uuid.UUID
    message_id: str
    event_type: str
    status: Literal["pending", "delivered", "failed"]
    created_at: datetime
    delivered_at: datetime | None
    next_attempt_at: datetime | None
    attempts: list[DeliveryAttempt]

    @classmethod
    def of(cls, row: tables.WebhookDelivery, attempts: list[tables.WebhookAttempt]) -> Self:
        """Return what a caller sees of a row."""
        status: Literal["pending", "delivered", "failed"] = "pending"
        if row.delivered_at is not None:
            status = "delivered"
        elif row.given_up_at is not None:
            status = "failed"
        return cls(
            id=row.id,
            message_id=message_id(row.id),
            event_type=row.event_type,
            status=status,
            created_at=row.created_at,
            delivered_at=row.delivered_at,
            next_attempt_at=row.next_attempt_at if status == "pending" else None,
            attempts=[DeliveryAttempt.model_validate(attempt) for attempt in attempts],
        )


class Message(BaseModel):
    """What an endpoint is sent; `data` depends on the type, see docs/webhooks.md."""

    type: Literal[*MESSAGE_TYPES]  # type: ignore[valid-type]
    timestamp: datetime = Field(description="When it happened.")
    data: dict[str, Any]
