"""Who is told of what happens, and what is still to be told to whom."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import Base, EndpointState, JsonList, Key, TenantKey

_OPEN = text("delivered_at IS NULL AND given_up_at IS NULL")


class WebhookEndpoint(Base):
    """A URL of a tenant that is told of events of `event_types`; none named: of all.

    Both secrets are sealed under the pepper with the row's id; the previous one signs too until
    `previous_until`. `failing_since`: when the first call failed after the last that did not.
    """

    __tablename__ = "webhook_endpoints"

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    url: Mapped[str]
    description: Mapped[str | None]
    event_types: Mapped[JsonList]
    state: Mapped[EndpointState]
    reason_code: Mapped[str | None]
    secret: Mapped[bytes | None]
    previous_secret: Mapped[bytes | None]
    previous_until: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class WebhookDelivery(Base):
    """An outbox row: one message for one endpoint, or for one callback URL of an OpenDSR request.

    `attempt` is the fencing token and grows with every claim; `retries` counts the failures since
    the message was written or replayed. While an attempt is under way, `next_attempt_at` is when
    it counts as lost. `body` is sent as it is, so a message is the same each time.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index(None, "endpoint_id", "id"),
        Index(
            "ix_webhook_deliveries_due",
            "next_attempt_at",
            postgresql_where=_OPEN,
            sqlite_where=_OPEN,
        ),
    )

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    endpoint_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("webhook_endpoints.id"))
    callback_url: Mapped[str | None]
    event_type: Mapped[str] = mapped_column(String(64))
    body: Mapped[bytes]
    attempt: Mapped[int] = mapped_column(default=0)
    retries: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]


class WebhookAttempt(Base):
    """One call; neither status nor error: it has not ended, or its sender died before saying so."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("webhook_deliveries.id"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[TenantKey]
    started_at: Mapped[datetime]
    milliseconds: Mapped[int | None]
    status_code: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(32))


class OpendsrRequest(Base):
    """What the OpenDSR adapter keeps of a deletion request that came by it."""

    __tablename__ = "opendsr_requests"
    __table_args__ = (UniqueConstraint("tenant_id", "subject_request_id"),)

    request_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("deletion_requests.id"), primary_key=True
    )
    tenant_id: Mapped[TenantKey]
    subject_request_id: Mapped[str] = mapped_column(String(36))
    status_callback_urls: Mapped[JsonList]
