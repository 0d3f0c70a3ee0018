"""A broker that is away, hangs or forgets: no wake-up is lost, and nobody waits for ever."""

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from service.broker import QUEUE, SEND_TIMEOUT_S, celery_app
from service.cli.operating import Sweeper
from service.config import Settings
from service.database import Database
from service.tables import Job, JobStatus, Outbox
from tests.servers import VALKEY, Server, serve
from tests.service.ledger.world import World


@pytest.fixture
def server() -> Iterator[Server]:
    """A broker of the test's own, to be killed and stopped."""
    with serve(*VALKEY) as server:
        yield server


@pytest.fixture
def settings(server: Server, sqlite_database: Database, tmp_path: Path) -> Settings:
    url = sqlite_database.url.render_as_string(hide_password=False)
    return Settings(home=tmp_path, database_url=url, broker_url=server.url, lease_s=30)


@pytest.fixture
def world(sqlite_database: Database) -> World:
    """A company whose model waits for its check."""
    world = World(sqlite_database)
    world.register(ready=False)
    return world


@pytest.fixture
def sweeper(settings: Settings) -> Iterator[Sweeper]:
    sweeper = Sweeper(settings)
    with closing(sweeper._database):
        yield sweeper


def announced(settings: Settings) -> int:
    """Take all messages out of the queue and return how many there were."""
    count = 0
    with closing(celery_app(settings)) as app, app.connection_for_read() as connection:
        while connection.default_channel.basic_get(QUEUE, no_ack=True) is not None:
            count += 1
    return count


def an_hour_passes(world: World) -> None:
    """Let everything that was written lie an hour back."""
    hour = timedelta(hours=1)
    with world.database.write() as session:
        for row in session.query(Outbox):
            row.created_at, row.send_after = row.created_at - hour, row.send_after - hour
            row.sent_at = None if row.sent_at is None else row.sent_at - hour


def test_wake_ups_wait_in_the_outbox_while_the_broker_is_away(
    server: Server, settings: Settings, world: World, sweeper: Sweeper
) -> None:
    server.stop(signal.SIGKILL)
    for _ in range(3):
        sweeper._try(sweeper.dispatch)
        an_hour_passes(world)
    assert [row.sent_at for row in world.all(Outbox)] == [None]
    server.start()
    sweeper._try(sweeper.dispatch)
    assert all(row.sent_at is not None for row in world.all(Outbox))
    assert announced(settings) == 1


def test_what_the_broker_forgot_is_sent_again(
    server: Server, settings: Settings, world: World, sweeper: Sweeper
) -> None:
    sweeper.dispatch()
    server.stop(signal.SIGKILL)
    shutil.rmtree(server.home / "appendonlydir")
    server.start()
    for duty in (sweeper.sweep, sweeper.dispatch):
        sweeper._try(duty)
    assert announced(settings) == 0  # it was sent a moment ago and may be on its way
    an_hour_passes(world)
    for duty in (sweeper.sweep, sweeper.dispatch):
        sweeper._try(duty)
    assert announced(settings) == 1
    assert {job.status for job in world.all(Job)} == {JobStatus.QUEUED}


def test_a_broker_that_hangs_holds_nobody_for_ever(
    server: Server, settings: Settings, world: World, sweeper: Sweeper
) -> None:
    sweeper.dispatch()
    assert announced(settings) == 1
    with world.database.write() as session:
        session.execute(update(Outbox).values(sent_at=None))
    server.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(Exception, match=r"(?i)timeout|timed out"):
            sweeper.dispatch()
        assert time.monotonic() - began < 4 * SEND_TIMEOUT_S
    finally:
        server.process.send_signal(signal.SIGCONT)
    sweeper.dispatch()
    assert announced(settings) >= 1  # the first one may have arrived after all: doubled, not lost
    assert all(row.sent_at is not None for row in world.all(Outbox))
