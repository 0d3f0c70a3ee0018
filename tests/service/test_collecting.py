"""What nobody names is collected, late enough; what somebody names or touches never is."""

import os
from pathlib import Path

import pytest
from sqlalchemy import select

from service import ledger
from service.collecting import Collector
from service.database import Database
from service.keys import ensure_tenant
from service.ledger import Caller, ModelDraft
from service.storage import Storage
from service.tables import AuditEvent
from tests.service.ledger.world import World

AGE_S = 100.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["folder", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage(str(tmp_path / "storage"))
    return Storage(f"memory://{tmp_path.name}")


@pytest.fixture
def collector(sqlite_database: Database, storage: Storage, clock: Clock) -> Collector:
    return Collector(sqlite_database, storage, AGE_S, clock)


def events(database: Database) -> list[tuple[str, dict[str, object]]]:
    with database.read() as session:
        query = select(AuditEvent).where(AuditEvent.action == "storage.collected")
        return [(str(event.tenant_id), event.payload) for event in session.scalars(query)]


def test_an_orphan_goes_once_it_was_watched_for_long_enough(
    collector: Collector, storage: Storage, clock: Clock
) -> None:
    key = storage.put_bytes(b"of a worker that was fenced out", "application/octet-stream")
    for seconds in (0.0, AGE_S - 1):
        clock.seconds = seconds
        assert collector.collect() == 0
    clock.seconds = AGE_S
    assert collector.collect() == 1
    assert not storage.exists(key)


def test_the_first_look_removes_nothing_whatever_the_age(
    sqlite_database: Database, storage: Storage, clock: Clock
) -> None:
    collector = Collector(sqlite_database, storage, 0, clock)
    storage.put_bytes(b"x", "text/plain")
    assert collector.collect() == 0


def test_content_that_is_stored_again_starts_anew(
    sqlite_database: Database, tmp_path: Path, clock: Clock
) -> None:
    storage = Storage(str(tmp_path / "storage"))
    collector = Collector(sqlite_database, storage, AGE_S, clock)
    key = storage.put_bytes(b"x", "text/plain")
    collector.collect()
    clock.seconds = AGE_S
    storage.put_bytes(b"x", "text/plain")
    assert collector.collect() == 0
    clock.seconds = 2 * AGE_S
    assert storage.exists(key)
    assert collector.collect() == 1


def test_what_was_touched_after_the_listing_stays(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "storage"))
    key = storage.put_bytes(b"x", "text/plain")
    (stored,) = storage.list()
    storage.put_bytes(b"x", "text/plain")
    assert not storage.remove_unchanged(stored)
    assert [found.path for found in storage.list()] == [key]
    assert storage.read_bytes(key) == b"x"


def test_what_is_gone_already_is_no_error(storage: Storage) -> None:
    storage.put_bytes(b"x", "text/plain")
    (stored,) = storage.list()
    assert storage.remove_unchanged(stored)
    assert not storage.remove_unchanged(stored)


def test_a_half_written_file_of_a_killed_writer_goes_too(
    sqlite_database: Database, tmp_path: Path, clock: Clock
) -> None:
    storage = Storage(str(tmp_path / "storage"))
    half = tmp_path / "storage" / "temporary" / "a1b2"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"ha")
    collector = Collector(sqlite_database, storage, AGE_S, clock)
    collector.collect()
    clock.seconds = AGE_S
    assert collector.collect() == 1
    assert not half.exists()


def test_what_a_row_names_stays_and_every_tenants_log_tells_of_the_rest(
    sqlite_database: Database, collector: Collector, storage: Storage, clock: Clock
) -> None:
    world = World(sqlite_database)
    world.register()
    kept = storage.put_bytes(b"weights", "application/vnd.safetensors")
    draft = {**vars(world.model_draft(name="kept")), "weights_uri": kept}
    with sqlite_database.write() as session:
        other = Caller(ensure_tenant(session, "other").id, "key:other")
        ledger.register_model(session, world.caller, ModelDraft(**draft))
    orphan = storage.put_bytes(b"orphan", "application/octet-stream")
    collector.collect()
    clock.seconds = AGE_S
    assert collector.collect() == 1
    assert storage.exists(kept)
    assert not storage.exists(orphan)
    facts = {"artifacts": 1, "bytes": len(b"orphan")}
    tenants = {str(world.caller.tenant_id), str(other.tenant_id)}
    assert sorted(events(sqlite_database)) == sorted((tenant, facts) for tenant in tenants)


def test_nothing_is_written_where_nothing_was_collected(
    sqlite_database: Database, collector: Collector
) -> None:
    collector.collect()
    assert events(sqlite_database) == []


def test_a_file_beside_the_artifacts_is_none_of_the_collectors_business(
    sqlite_database: Database, tmp_path: Path, clock: Clock
) -> None:
    storage = Storage(str(tmp_path / "storage"))
    note = tmp_path / "storage" / "README"
    note.parent.mkdir()
    note.write_text("Mounted from nas4.")
    collector = Collector(sqlite_database, storage, 0, clock)
    for seconds in (0.0, 1.0, 2.0):
        clock.seconds = seconds
        assert collector.collect() == 0
    assert note.exists()


def test_a_copy_that_fails_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(str(tmp_path / "storage"))
    content = tmp_path / "content"
    content.write_bytes(b"x")
    monkeypatch.setattr(os, "fsync", _broken)
    with pytest.raises(OSError, match="broken"):
        storage.put_file(content, "text/plain")
    assert list(storage.list()) == []


def _broken(_descriptor: int) -> None:
    raise OSError("broken")
