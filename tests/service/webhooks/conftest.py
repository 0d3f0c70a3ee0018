"""A company with an endpoint that a real server listens at, and the courier between them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from service.config import Settings
from service.database import Database, now
from service.ledger.webhooks import (
    EndpointOrder,
    get_endpoint,
    list_deliveries,
    register_endpoint,
)
from service.sealing import load_sealer
from service.tables import AuditEvent, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from service.webhooks import PURPOSE, Courier
from tests.service.ledger.world import World
from tests.service.receiver import Receiver, listening

Told = list[tuple[WebhookDelivery, list[WebhookAttempt]]]


@dataclass
class Town:
    """World, receiver, courier and settings of one test."""

    world: World
    receiver: Receiver
    settings: Settings
    courier: Courier

    @property
    def database(self) -> Database:
        """The database of this test."""
        return self.world.database

    def endpoint(self, *event_types: str, url: str | None = None) -> tuple[uuid.UUID, str]:
        """Register an endpoint at the receiver; return its id and its secret."""
        order = EndpointOrder(url=url or self.receiver.url, event_types=event_types)
        with self.database.write() as session:
            sealer = load_sealer(self.settings, PURPOSE)
            row, secret = register_endpoint(session, self.world.caller, order, sealer)
            return row.id, secret

    def row(self, key: uuid.UUID) -> WebhookEndpoint:
        """Return an endpoint as it is now."""
        with self.database.read() as session:
            return get_endpoint(session, self.world.caller, key)

    def told(self, key: uuid.UUID) -> Told:
        """Return an endpoint's deliveries with their attempts, oldest first."""
        with self.database.read() as session:
            return list_deliveries(session, self.world.caller, key, limit=200).items[::-1]

    def actions(self) -> list[str]:
        """Return what the audit log holds, in its order."""
        with self.database.read() as session:
            query = select(AuditEvent.action).order_by(AuditEvent.seq)
            return list(session.scalars(query))

    def wait(self) -> None:
        """Let the waiting time of every message pass."""
        with self.database.write() as session:
            past = update(WebhookDelivery).values(next_attempt_at=now(session))
            session.execute(past)

    def set(self, table: str, **values: Any) -> None:  # noqa: ANN401 - any column
        """Overwrite columns of all rows of a table."""
        columns = ", ".join(f"{name} = :{name}" for name in values)
        with self.database.write() as session:
            session.execute(text(f"UPDATE {table} SET {columns}"), values)  # noqa: S608 - a test's


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a receiver on this machine."""
    with listening() as found:
        yield found


@pytest.fixture
def town(database: Database, receiver: Receiver, tmp_path: Path) -> Town:
    """Return a company whose model is ready, on each database."""
    return make_town(database, receiver, tmp_path)


@pytest.fixture
def sqlite_town(sqlite_database: Database, receiver: Receiver, tmp_path: Path) -> Town:
    """Return the same on SQLite, for what no other database would change."""
    return make_town(sqlite_database, receiver, tmp_path)


def make_town(database: Database, receiver: Receiver, home: Path) -> Town:
    """Return a company and a courier that may call this machine."""
    settings = Settings(
        home=home,
        outgoing_networks=(IPv4Network("127.0.0.0/8"),),
        outgoing_allow_http=True,
        outgoing_timeout_s=2,
        dispatch_interval_s=0.02,
    )
    world = World(database)
    world.register()
    return Town(world, receiver, settings, Courier(settings, database))
