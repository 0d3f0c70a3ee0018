"""The sweeper's pulse beats while every duty is done, and rests while one fails."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from service import ledger
from service.cli.operating import Sweeper
from service.config import Settings
from service.database import Database
from service.keys import ensure_tenant
from service.tables import AuditCheckpoint, AuditEvent

PATIENCE_S = 20.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(
        home=tmp_path,
        pulse_file=tmp_path / "pulse",
        sweep_interval_s=0.01,
        dispatch_interval_s=0.01,
    )
    with closing(Database.from_settings(made)) as database:
        database.migrate()
    return made


@contextmanager
def _sweeping(settings: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=Sweeper(settings).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _wait_for(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_pulse_rests_while_a_duty_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = settings.pulse_file
    assert pulse is not None
    failures: list[int] = []

    def broken(*_: object) -> None:
        failures.append(1)
        raise ConnectionError("the database is away")

    with _sweeping(settings):
        _wait_for(pulse.exists)
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "sweep", broken)
            _wait_for(lambda: len(failures) > 2)
            pulse.unlink()
            seen = len(failures)
            _wait_for(lambda: len(failures) > seen + 5)  # meanwhile `dispatch` goes well
            assert not pulse.exists()
        _wait_for(pulse.exists)


def test_without_a_pulse_file_none_is_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse, whole, done = settings.pulse_file, ledger.sweep, threading.Event()
    assert pulse is not None

    def counted(session: Session, chosen: Settings) -> ledger.SweepResult:
        done.set()
        return whole(session, chosen)

    monkeypatch.setattr(ledger, "sweep", counted)
    with _sweeping(settings.model_copy(update={"pulse_file": None})):
        assert done.wait(PATIENCE_S)
    assert not pulse.exists()


def test_heads_are_signed_and_a_damaged_log_is_reported_and_stops_nothing(
    settings: Settings,
) -> None:
    sweeper = Sweeper(settings)
    with closing(sweeper._database) as database:
        with database.write() as session:
            good, bad = (ensure_tenant(session, name).id for name in ("good", "bad"))
            session.execute(text("DROP TRIGGER audit_events_no_update"))
            damage = update(AuditEvent).where(AuditEvent.tenant_id == bad).values(actor="b")
            session.execute(damage)
        with capture_logs() as logs:
            sweeper.checkpoint()
            sweeper.checkpoint()
        with database.read() as session:
            [signed] = session.scalars(select(AuditCheckpoint))
    assert (signed.tenant_id, signed.seq) == (good, 1)
    assert [(line["event"], line["tenant"]) for line in logs] == [
        ("audit log damaged", str(bad))
    ] * 2
