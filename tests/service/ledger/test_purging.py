"""What is given up, when, and what stays of it: purging on schedule."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from service import ledger
from service.database import Database
from service.errors import Conflict
from service.tables import (
    AuditEvent,
    DeletionRequest,
    JobKind,
    ModelVersion,
    Purge,
    RequestCopies,
    RequestSamples,
)
from tests.service.ledger.purges import ERASER, purge, purge_rows
from tests.service.ledger.world import World

DAY = timedelta(days=1)


def age(world: World, days: float) -> None:
    """Let so many days pass for what is superseded and closed."""
    with world.database.write() as session:
        past = session.execute(select(func.max(ModelVersion.created_at))).scalar_one() - days * DAY
        for column in (ModelVersion.superseded_at, DeletionRequest.closed_at):
            change = update(column.class_).where(column.is_not(None)).values({column: past})
            session.execute(change)


def state(world: World, number: int) -> str:
    [version] = [row for row in world.all(ModelVersion) if row.number == number]
    return str(version.state)


def events(world: World, action: str) -> list[AuditEvent]:
    with world.database.read() as session:
        query = select(AuditEvent).where(AuditEvent.action == action)
        return list(session.scalars(query.order_by(AuditEvent.seq)))


def test_superseded_weights_go_when_their_time_is_over(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    age(world, 29)
    purge(world, tmp_path)
    assert state(world, 1) == "superseded"
    age(world, 31)
    [row] = [row for row in purge_rows(world, tmp_path) if row.what == "version"]
    assert state(world, 1) == "purged"
    assert state(world, 2) == "current"
    [version] = [row for row in world.all(ModelVersion) if row.number == 1]
    assert (row.uri, row.digest, row.reason) == (
        version.weights_uri,
        version.weights_sha256,
        "superseded",
    )
    [event] = events(world, "model-version.purged")
    assert event.payload["sha256"] == version.weights_sha256
    assert purge_rows(world, tmp_path) == []


def test_weights_that_an_audit_measures_stay_until_it_is_over(
    world: World, tmp_path: Path, measured: dict[str, object]
) -> None:
    request_id = world.request("s0")
    world.work()
    with world.database.write() as session:
        ledger.open_request_audit(session, world.caller, request_id, "reproduction")
    age(world, 31)
    purge(world, tmp_path)
    assert state(world, 1) == "superseded"
    world.work()
    purge(world, tmp_path)
    assert state(world, 1) == "purged"


def test_weights_of_a_model_that_was_refused_go(database: Database, tmp_path: Path) -> None:
    world = World(database)
    world.register(ready=False)
    world.fail(world.hold(JobKind.CHECK))
    assert purge(world, tmp_path) == [world.key("net-1")]


def test_the_link_to_samples_goes_with_the_salt_and_the_commitment_stays(
    world: World, tmp_path: Path
) -> None:
    request_id = world.request("s0", "s1", subject_request_id="DSR-1", stated=b"order")
    world.work()
    open_id = world.request("s2")
    root = world.get(request_id).commitment_root
    age(world, 91)
    [row] = [row for row in purge_rows(world, tmp_path) if row.what == "samples"]
    assert (row.request_id, row.size, row.reason) == (request_id, 2, "closed")
    request = world.get(request_id)
    assert (request.commitment_root, request.num_samples) == (root, 2)
    assert (request.commitment_salt, request.order_digest) == (None, None)
    with world.database.read() as session:
        for table in (RequestSamples, RequestCopies):
            assert set(session.scalars(select(table.request_id))) == {open_id}
    assert world.get(open_id).commitment_salt is not None
    [event] = events(world, "deletion-request.samples_purged")
    assert event.payload == {"samples": 2}
    with pytest.raises(Conflict) as refused, world.database.write() as session:
        ledger.open_request_audit(session, world.caller, request_id, "upgrade")
    assert refused.value.code in {"erased_set_grew", "samples_purged"}
    with pytest.raises(Conflict, match="has this subject_request_id"):
        world.request("s3", subject_request_id="DSR-1", stated=b"order")


def test_what_was_purged_is_in_no_list_of_what_is_left(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    age(world, 31)
    purge(world, tmp_path)
    world.request("s1")
    world.work()
    versions = [c for c in world.contexts[-1].residual_copies if c.what == "version"]
    deleting, superseded = versions
    assert (deleting.name, superseded.name) == ("version 1, being deleted", "version 2")
    assert None not in {deleting.until, superseded.until}
    with world.database.write() as session:
        gone = dict.fromkeys(ledger.pending_artifacts(session), 10)
        ledger.finish_purges(session, world.caller.tenant_id, gone)
    world.request("s2")
    world.work()
    names = [c.name for c in world.contexts[-1].residual_copies if c.what == "version"]
    assert names == ["version 2", "version 3"]


def test_a_deletion_is_proved_by_the_log(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    age(world, 31)
    [uri] = [row.uri for row in purge_rows(world, tmp_path) if row.what == "version"]
    assert uri is not None
    with world.database.write() as session:
        [done] = ledger.finish_purges(session, world.caller.tenant_id, {uri: 123})
    [event] = events(world, "artifact.deleted")
    assert event.resource == done.resource
    assert event.payload["sha256"] == done.digest
    assert (event.payload["bytes"], event.payload["reason"]) == (123, "superseded")
    with world.database.write() as session:
        assert ledger.finish_purges(session, world.caller.tenant_id, {uri: 123}) == []
    [row] = [row for row in world.all(Purge) if row.uri == uri]
    assert (row.size, row.done_at) == (123, done.done_at)
    assert world.erased() == {0}


def test_erased_rows_stay_without_an_eraser(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    age(world, 91)
    assert "dropped_samples" not in {row.what for row in purge_rows(world, tmp_path)}
    assert "dropped_samples" in {row.what for row in purge_rows(world, tmp_path, eraser=ERASER)}
