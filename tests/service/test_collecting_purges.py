"""Artifacts that were given up: deleted when nobody needs them any more, and the log proves it."""

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import select, update

from service import ledger
from service.collecting import Collector
from service.config import Settings
from service.database import Database
from service.keys import ensure_tenant
from service.ledger import Caller, DatasetDraft, ModelDraft
from service.storage import Storage, digest_of
from service.tables import (
    AuditEvent,
    ModelVersion,
    Pool,
    Purge,
    VersionState,
)
from tests.service.ledger.purges import purge_rows
from tests.service.ledger.world import World, rows
from tests.service.test_collecting import Clock

AGE_S = 100.0


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "storage"))


def _deleted(database: Database) -> list[AuditEvent]:
    with database.read() as session:
        query = select(AuditEvent).where(AuditEvent.action == "artifact.deleted")
        return list(session.scalars(query.order_by(AuditEvent.seq)))


def _store(world: World, storage: Storage, content: bytes) -> str:
    """Let version 1 have these bytes as weights and return their key."""
    key = storage.put_bytes(content, "application/vnd.safetensors")
    with world.database.write() as session:
        values = {"weights_uri": key, "weights_sha256": digest_of(key)}
        session.execute(update(ModelVersion).where(ModelVersion.number == 1).values(values))
    return key


def test_a_purged_version_is_deleted_after_the_watch_and_only_then_proved(
    database: Database, storage: Storage, tmp_path: Path
) -> None:
    world, clock = World(database), Clock()
    world.register()
    key = _store(world, storage, b"weights of version 1")
    world.request("s0")
    world.work()
    collector = Collector(database, storage, AGE_S, clock)
    collector.collect()
    purge_rows(world, tmp_path, keep_superseded_days=0)
    for seconds in (0.0, AGE_S - 1):
        clock.seconds = seconds
        collector.collect()
        assert storage.exists(key)
        assert _deleted(database) == [] or key not in {
            e.payload["sha256"] for e in _deleted(database)
        }
    clock.seconds = 3 * AGE_S
    collector.collect()
    assert not storage.exists(key)
    [event] = [e for e in _deleted(database) if e.payload["sha256"] == digest_of(key)]
    assert (event.payload["bytes"], event.payload["what"]) == (20, "version")
    with database.read() as session:
        assert key not in ledger.pending_artifacts(session)


def test_a_sweeper_that_died_before_it_could_write_it_down_is_made_good(
    database: Database, storage: Storage, tmp_path: Path
) -> None:
    world = World(database)
    world.register()
    key = _store(world, storage, b"weights of version 1")
    world.request("s0")
    world.work()
    purge_rows(world, tmp_path, keep_superseded_days=0)
    storage.delete(key)
    Collector(database, storage, AGE_S, Clock()).collect()
    [event] = [e for e in _deleted(database) if e.payload["sha256"] == digest_of(key)]
    assert event.payload["bytes"] is None


def test_a_pool_of_a_run_that_goes_on_is_no_orphan(database: Database) -> None:
    world = World(database)
    world.register()
    world.request("s0", pool=True)
    while not [row for row in world.all(Pool) if row.state == "ready"]:
        assert world.work(limit=1)
    [pool] = world.all(Pool)
    with database.read() as session:
        assert pool.predictions_uri in ledger.named_artifacts(session)


class SharedArtifacts(RuleBasedStateMachine):
    """Two tenants name, give up and store again a few contents; the collector comes and goes.

    A file is there whenever a row names it, and what is written down as deleted is not there.
    """

    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.home / "ledger.db")
        self.database = Database(f"sqlite:///{self.home / 'ledger.db'}")
        self.storage = Storage(str(self.home / "storage"))
        self.clock = Clock()
        self.collector = Collector(self.database, self.storage, AGE_S, self.clock)
        self.models: list[tuple[Caller, Any]] = []
        self.count = 0
        for name in ("one", "two"):
            with self.database.write() as session:
                caller = Caller(ensure_tenant(session, name).id, "key:test")
                draft = DatasetDraft(
                    name=name,
                    manifest_uri="m.csv",
                    format="csv",
                    root="/data",
                    class_names=["a", "b", "c"],
                    rows=rows(),
                )
                dataset = ledger.register_dataset(session, caller, draft).id
            self.models.append((caller, dataset))

    @rule(owner=st.integers(0, 1), content=st.integers(0, 2), named=st.booleans())
    def store(self, owner: int, content: int, named: bool) -> None:
        """Store a content as a worker does, and name it; or be fenced out before that."""
        key = self.storage.put_bytes(b"%d" % content, "application/vnd.safetensors")
        if not named:
            return
        caller, dataset = self.models[owner]
        self.count += 1
        with self.database.write() as session:
            draft = ModelDraft(
                name=f"net {self.count}",
                dataset_id=dataset,
                architecture="expunge:mlp",
                weights_uri=key,
                weights_sha256=digest_of(key),
                preprocessing={},
                recipe=None,
            )
            ledger.register_model(session, caller, draft)

    @rule(owner=st.integers(0, 1), place=st.integers(0, 5))
    def give_up(self, owner: int, place: int) -> None:
        """Reject one of a tenant's versions and purge."""
        caller, _ = self.models[owner]
        with self.database.write() as session:
            query = select(ModelVersion).where(
                ModelVersion.tenant_id == caller.tenant_id,
                ModelVersion.state == VersionState.CANDIDATE,
            )
            found = session.scalars(query.order_by(ModelVersion.id)).all()
            if found:
                found[place % len(found)].state = VersionState.REJECTED
        with self.database.write() as session:
            ledger.purge(session, Settings(home=self.home), caller.tenant_id)

    @rule(seconds=st.sampled_from([1.0, AGE_S / 2, AGE_S]))
    def collect(self, seconds: float) -> None:
        """Let time pass and look once."""
        self.clock.seconds += seconds
        self.collector.collect()

    @invariant()
    def what_is_named_is_there(self) -> None:
        with self.database.read() as session:
            named = ledger.named_artifacts(session)
        assert all(self.storage.exists(key) for key in named)

    @precondition(lambda self: self.count > 0)
    @rule()
    def all_that_was_given_up_goes_in_the_end(self) -> None:
        """Watch for long enough: what nobody names is gone and written down, the rest stays."""
        for _ in range(3):
            self.clock.seconds += AGE_S
            self.collector.collect()
        with self.database.read() as session:
            named = ledger.named_artifacts(session)
            pending = ledger.pending_artifacts(session)
            done = set(session.scalars(select(Purge.uri).where(Purge.done_at.is_not(None))))
        assert {stored.path for stored in self.storage.list()} == named
        assert pending <= named
        assert done.isdisjoint(pending)

    def teardown(self) -> None:
        """Close and remove everything."""
        for caller, _ in self.models:
            with self.database.read() as session:
                assert ledger.verify_chain(session, caller.tenant_id).ok
        self.database.close()
        shutil.rmtree(self.home)


def test_a_shared_artifact_is_deleted_only_when_nobody_needs_it(tmp_path: Path) -> None:
    template = tmp_path / "template.db"
    with closing(Database(f"sqlite:///{template}")) as database:
        database.migrate()
    SharedArtifacts.template = template
    machine = SharedArtifacts.TestCase
    machine.settings = settings(
        max_examples=10,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    machine("runTest").runTest()
