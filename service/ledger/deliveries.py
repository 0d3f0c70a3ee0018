"""What the sender of webhooks asks of the ledger: the next messages, and what became of them.

No transaction is open while a call is made. A message is claimed for as long as a call may last; if
its sender dies it is due again then, under the same id, so it arrives at least once.
"""

import random
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.orm import Session

from service.database import now
from service.ledger.log import take_turn
from service.ledger.webhooks import silence
from service.tables import EndpointState, WebhookAttempt, WebhookDelivery, WebhookEndpoint

BACKOFF_S = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600, 36_000)
"""Seconds before each further attempt, ± 20 %: eleven attempts within 24 hours."""

JITTER = 0.2
MAX_RETRY_AFTER_S = 21_600.0
DISABLE_AFTER = timedelta(hours=18)
PER_CHANNEL = 4
GONE = 410


@dataclass(frozen=True)
class Parcel:
    """A claimed message: `secrets` are sealed, none of them for an OpenDSR callback."""

    delivery_id: uuid.UUID
    attempt: int
    tenant_id: uuid.UUID
    endpoint_id: uuid.UUID | None
    url: str
    event_type: str
    body: bytes = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)

    @property
    def channel(self) -> uuid.UUID | str:
        """What a slow receiver holds up: its own endpoint or callback URL, nobody else's."""
        return self.endpoint_id or self.url


@dataclass(frozen=True)
class Outcome:
    """What became of a call: the status of its answer, or the code of its failure."""

    milliseconds: int
    status_code: int | None = None
    error: str | None = None
    retry_after_s: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the receiver took the message: 2xx and nothing else."""
        return self.status_code is not None and 200 <= self.status_code < 300


def any_due(session: Session) -> bool:
    """Say whether a message waits to be sent, without a lock on anything."""
    due = select(WebhookDelivery.id).where(*_due(now(session)))
    return session.scalar(due.limit(1)) is not None


def claim_deliveries(
    session: Session, limit: int, lease_s: float, busy: Collection[uuid.UUID | str] = ()
) -> list[Parcel]:
    """Take messages that are due, at most a few for one receiver, none for the busy ones."""
    moment = now(session)
    due = (
        *_due(moment),
        or_(
            WebhookDelivery.endpoint_id.is_(None),
            WebhookDelivery.endpoint_id.not_in([key for key in busy if not isinstance(key, str)]),
        ),
        or_(
            WebhookDelivery.callback_url.is_(None),
            WebhookDelivery.callback_url.not_in([key for key in busy if isinstance(key, str)]),
        ),
    )
    channel = (WebhookDelivery.endpoint_id, WebhookDelivery.callback_url)
    place = func.row_number().over(partition_by=channel, order_by=WebhookDelivery.next_attempt_at)
    ranked = select(WebhookDelivery.id, place.label("place")).where(*due).subquery()
    first = select(ranked.c.id).where(ranked.c.place <= PER_CHANNEL)
    rows = session.scalars(
        select(WebhookDelivery)
        .where(WebhookDelivery.id.in_(first), *due)
        .order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    return [_claim(session, row, moment, lease_s) for row in rows]


def _due(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        WebhookDelivery.delivered_at.is_(None),
        WebhookDelivery.given_up_at.is_(None),
        WebhookDelivery.next_attempt_at <= moment,
    )


def _claim(session: Session, row: WebhookDelivery, moment: datetime, lease_s: float) -> Parcel:
    row.attempt += 1
    row.next_attempt_at = moment + timedelta(seconds=lease_s)
    session.add(
        WebhookAttempt(
            delivery_id=row.id, number=row.attempt, tenant_id=row.tenant_id, started_at=moment
        )
    )
    endpoint = session.get(WebhookEndpoint, row.endpoint_id) if row.endpoint_id else None
    session.flush()
    return Parcel(
        delivery_id=row.id,
        attempt=row.attempt,
        tenant_id=row.tenant_id,
        endpoint_id=row.endpoint_id,
        url=endpoint.url if endpoint is not None else row.callback_url or "",
        event_type=row.event_type,
        body=row.body,
        secrets=_signing(endpoint, moment) if endpoint is not None else (),
    )


def _signing(endpoint: WebhookEndpoint, moment: datetime) -> tuple[bytes, ...]:
    until = endpoint.previous_until
    previous = endpoint.previous_secret if until is not None and until > moment else None
    return tuple(secret for secret in (endpoint.secret, previous) if secret is not None)


def record_outcome(session: Session, parcel: Parcel, outcome: Outcome) -> None:
    """Write down what became of a call, and when the next one is due if it has to be made again.

    The call of a claim that was lost is written down and decides nothing.
    """
    if not outcome.accepted:  # its endpoint may be disabled, which is an entry of the log
        take_turn(session, parcel.tenant_id)
    endpoint = _locked_endpoint(session, parcel)
    delivery = session.get_one(
        WebhookDelivery, parcel.delivery_id, with_for_update=True, populate_existing=True
    )
    made = session.get_one(WebhookAttempt, (parcel.delivery_id, parcel.attempt))
    made.milliseconds, made.status_code = outcome.milliseconds, outcome.status_code
    made.error = outcome.error
    if delivery.attempt != parcel.attempt:
        return
    moment = now(session)
    if outcome.accepted:
        delivery.delivered_at, delivery.given_up_at = moment, None
        if endpoint is not None:
            endpoint.failing_since = None
        return
    if endpoint is not None and endpoint.failing_since is None:
        endpoint.failing_since = moment
    if delivery.given_up_at is None:
        _retry(delivery, outcome, moment)
    if endpoint is not None and endpoint.state == EndpointState.ENABLED:
        _disable_if_hopeless(session, endpoint, delivery, outcome, moment)


def _locked_endpoint(session: Session, parcel: Parcel) -> WebhookEndpoint | None:
    """Lock the endpoint before its delivery, as those do who disable it."""
    if parcel.endpoint_id is None:
        return None
    return session.get_one(
        WebhookEndpoint,
        parcel.endpoint_id,
        with_for_update={"key_share": True},
        populate_existing=True,
    )


def _retry(delivery: WebhookDelivery, outcome: Outcome, moment: datetime) -> None:
    if delivery.retries >= len(BACKOFF_S):
        delivery.given_up_at = moment
        return
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - it keeps no secret
    wait_s = max(
        BACKOFF_S[delivery.retries] * spread, min(outcome.retry_after_s, MAX_RETRY_AFTER_S)
    )
    delivery.retries += 1
    delivery.next_attempt_at = moment + timedelta(seconds=wait_s)


def _disable_if_hopeless(
    session: Session,
    endpoint: WebhookEndpoint,
    delivery: WebhookDelivery,
    outcome: Outcome,
    moment: datetime,
) -> None:
    """Disable an endpoint that says it is gone, or that took nothing for most of a day."""
    since = endpoint.failing_since
    if outcome.status_code == GONE:
        silence(session, endpoint, EndpointState.DISABLED, "endpoint_gone")
    elif delivery.given_up_at is not None and since is not None and since <= moment - DISABLE_AFTER:
        silence(session, endpoint, EndpointState.DISABLED, "endpoint_failing")


def purge_deliveries(session: Session, kept_days: float, limit: int) -> int:
    """Remove some messages that ended long ago, with their attempts; return how many."""
    old = now(session) - timedelta(days=kept_days)
    ended = func.coalesce(WebhookDelivery.delivered_at, WebhookDelivery.given_up_at)
    query = select(WebhookDelivery.id).where(ended < old).limit(limit)
    keys = session.scalars(query.with_for_update(skip_locked=True)).all()
    session.execute(delete(WebhookAttempt).where(WebhookAttempt.delivery_id.in_(keys)))
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(keys)))
    return len(keys)
