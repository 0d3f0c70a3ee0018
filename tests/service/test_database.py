"""Sessions: a write is all or nothing, a read changes nothing, and the clock is the database's."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from service.config import Settings
from service.database import Database, limits, now
from service.tables import Tenant


def _names(database: Database) -> list[str]:
    with database.read() as session:
        return [row.name for row in session.query(Tenant)]


def test_a_write_is_kept_whole_or_not_at_all(database: Database) -> None:
    with database.write() as session:
        session.add(Tenant(name="kept", created_at=now(session)))
    values = [{"id": uuid4(), "name": name} for name in ("lost", "kept")]
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(insert(Tenant).values(created_at=now(session)), values)
    assert _names(database) == ["kept"]


def test_a_reading_session_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError), database.read() as session:
        session.execute(insert(Tenant).values(id=uuid4(), name="x", created_at=datetime.now(UTC)))
    with database.write() as session:
        session.add(Tenant(name="y", created_at=now(session)))
    assert _names(database) == ["y"]


def test_times_come_back_in_utc_whatever_zone_they_went_in(database: Database) -> None:
    moment = datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5)))
    with database.write() as session:
        session.add(Tenant(name="x", created_at=moment))
    with database.read() as session:
        read = session.query(Tenant).one().created_at
    assert read == moment
    assert read.tzinfo == UTC


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="zone"), database.write() as session:
        session.execute(insert(Tenant).values(name="x", created_at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_the_clock_is_the_databases_and_moves_within_a_transaction(database: Database) -> None:
    with database.write() as session:
        first = database.now(session)
        later = now(session)
    assert first.tzinfo == UTC
    assert first <= later
    assert abs(datetime.now(UTC) - later) < timedelta(minutes=1)


def test_the_limits_of_the_settings_reach_the_session(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, max_failures=7, reference_seeds_per_job=2)
    database = Database.from_settings(settings)
    database.migrate()
    with database.read() as session:
        assert limits(session).max_failures == 7
        assert limits(session).reference_seeds_per_job == 2
    database.close()


def test_sqlite_is_set_up_for_several_processes(sqlite_database: Database) -> None:
    with sqlite_database.read() as session:
        pragma = session.connection().exec_driver_sql
        assert pragma("PRAGMA journal_mode").scalar_one() == "wal"
        assert pragma("PRAGMA foreign_keys").scalar_one() == 1
        assert pragma("PRAGMA busy_timeout").scalar_one() >= 10_000


def test_a_plain_postgresql_url_uses_the_installed_driver() -> None:
    database = Database("postgresql://user:secret@db.example/expunge")
    assert database.url.drivername == "postgresql+psycopg"
    assert not database.is_sqlite
