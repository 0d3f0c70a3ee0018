"""The doctor tells a database, broker or storage that works from one that does not, and why."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from service.config import Settings
from service.database import Database
from service.doctor.connections import check_broker, check_database, check_storage, judge_skew
from service.doctor.finding import Finding
from service.storage import Storage

SECRET = "hunter2hunter2"
Only = Callable[[Iterator[Finding]], Finding]


def _statuses(found: Iterator[Finding]) -> dict[str, str]:
    return {finding.name: finding.status for finding in found}


def _with(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update=changes)


def test_a_migrated_database_is_well(settings: Settings) -> None:
    found = _statuses(check_database(settings))
    assert found == {"database": "ok", "schema": "ok", "clock": "ok"}


def test_postgresql_is_named_with_its_version_and_without_its_password(
    fresh_postgres: Callable[[], Database], settings: Settings
) -> None:
    url = fresh_postgres().url.set(drivername="postgresql")
    database_url = url.render_as_string(hide_password=False)
    database, *rest = check_database(_with(settings, database_url=database_url))
    assert [(finding.name, finding.status) for finding in rest] == [
        ("schema", "ok"),
        ("log rights", "warn"),  # the tests connect as the tables' owner
        ("clock", "ok"),
    ]
    assert database.status == "ok"
    assert database.detail.startswith("postgresql ")
    assert str(url.database) in database.detail


def test_a_database_without_tables_has_a_stale_schema(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    _, schema, _ = check_database(_with(settings, database_url=f"sqlite:///{path}"))
    assert (schema.status, schema.action) == ("fail", "Run: expunge migrate")


def test_a_schema_that_this_code_does_not_know_is_stale(settings: Settings) -> None:
    engine = create_engine(settings.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'older'")
    engine.dispose()
    _, schema, _ = check_database(settings)
    assert schema.status == "fail"


def test_looking_makes_no_database(settings: Settings, only: Only, tmp_path: Path) -> None:
    path = tmp_path / "none" / "expunge.db"
    found = only(check_database(_with(settings, database_url=f"sqlite:///{path}")))
    assert found.status == "warn"
    assert "expunge up" in found.action
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "nosuchbase://host/name",
        f"postgresql://expunge:{SECRET}@127.0.0.1:9/expunge",
        f"postgresql://expunge:{SECRET}@127.0.0.1:port/expunge",
    ],
)
def test_a_broken_database_url_fails_and_shows_no_password(
    settings: Settings, only: Only, url: str
) -> None:
    found = only(check_database(_with(settings, database_url=url)))
    assert found.status == "fail"
    assert "EXPUNGE_DATABASE_URL" in found.action
    assert SECRET not in found.detail


def test_a_file_that_is_no_database_fails(settings: Settings, only: Only, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database at all\n" * 100)
    found = only(check_database(_with(settings, database_url=f"sqlite:///{path}")))
    assert found.status == "fail"


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0.0, "ok"), (-1.9, "ok"), (2.1, "warn"), (-59.0, "warn"), (61.0, "fail"), (-3600, "fail")],
)
def test_clocks_may_differ_by_little(seconds: float, status: str) -> None:
    assert judge_skew(seconds).status == status


def test_the_clock_that_is_compared_is_the_database_s(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    *_, clock = check_database(settings)
    assert (clock.name, clock.status) == ("clock", "fail")
    assert clock.detail.startswith("-")


def test_a_broker_folder_is_written_to_and_left_empty(settings: Settings, only: Only) -> None:
    assert only(check_broker(settings)).status == "ok"
    assert not [path for path in (settings.home / "broker").rglob("*") if path.is_file()]


def test_a_broker_folder_that_cannot_be_made_fails(settings: Settings, only: Only) -> None:
    (settings.home / "broker").write_text("in the way")
    found = only(check_broker(settings))
    assert (found.status, "EXPUNGE_HOME" in found.action) == ("fail", True)


def test_redis_is_asked(settings: Settings, only: Only, redis_url: str) -> None:
    assert only(check_broker(_with(settings, broker_url=redis_url))).status == "ok"


def test_redis_that_is_away_fails_and_shows_no_password(settings: Settings, only: Only) -> None:
    found = only(check_broker(_with(settings, broker_url=f"redis://:{SECRET}@127.0.0.1:9/0")))
    assert found.status == "fail"
    assert SECRET not in found.detail
    assert "127.0.0.1:9" in found.detail


def test_an_unknown_broker_fails_and_names_the_known(settings: Settings, only: Only) -> None:
    found = only(check_broker(_with(settings, broker_url="pigeon://loft")))
    assert found.status == "fail"
    assert "redis://" in found.action


def test_storage_is_written_read_and_left_empty(settings: Settings, only: Only) -> None:
    assert only(check_storage(settings)).status == "ok"
    assert not [path for path in (settings.home / "storage").rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", ["{file}/storage", "file://{file}/storage", "nosuch://bucket"])
def test_storage_that_cannot_be_written_fails(
    settings: Settings, only: Only, tmp_path: Path, url: str
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    found = only(check_storage(_with(settings, storage_url=url.format(file=file))))
    assert (found.status, "EXPUNGE_STORAGE_URL" in found.action) == ("fail", True)


class _Forgetful(Storage):
    def read_bytes(self, key: str) -> bytes:
        return b"something else" if super().read_bytes(key) else b""


class _Clinging(Storage):
    def delete(self, key: str) -> None:
        assert self.exists(key)


@pytest.mark.parametrize(
    ("kind", "words"), [(_Forgetful, "another content"), (_Clinging, "still there")]
)
def test_storage_that_does_not_keep_or_delete_fails(
    settings: Settings,
    only: Only,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Storage],
    words: str,
) -> None:
    monkeypatch.setattr("service.doctor.connections.Storage", kind)
    found = only(check_storage(settings))
    assert found.status == "fail"
    assert words in found.detail


def test_the_probe_is_another_artifact_every_time(settings: Settings, only: Only) -> None:
    kept = Storage(settings.storage_url)
    key = kept.put_bytes(b"precious", "text/plain")
    assert only(check_storage(settings)).status == "ok"
    assert hashlib.sha256(kept.read_bytes(key)).hexdigest() in key


def test_an_open_session_does_not_disturb_the_check(settings: Settings) -> None:
    with closing(Database.from_settings(settings)) as database, database.write():
        assert _statuses(check_database(settings))["database"] == "ok"
