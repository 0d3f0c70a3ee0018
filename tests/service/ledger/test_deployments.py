"""Owners attest what serves where; what was erased does not serve again."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.database import Database
from service.errors import Conflict, NotFound, ServiceError, Unprocessable
from service.ledger import Caller, deployments
from service.ledger.deployments import Attestation
from service.ledger.holding import Held, Holdings
from service.tables import (
    AuditEvent,
    DeletionRequest,
    Deployment,
    Model,
    ModelVersion,
    RequestSamples,
    WebhookDelivery,
)
from tests.service.ledger.groups import add_model
from tests.service.ledger.world import World

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def world(sqlite_database: Database) -> World:
    """Return a company on SQLite; one test below plays on both databases."""
    return _company(sqlite_database)


def _company(database: Database) -> World:
    world = World(database)
    world.register()
    return world


def attest(world: World, version: int, environment: str = "prod", **said: Any) -> Deployment:  # noqa: ANN401 - fields of what is said
    """Attest that a version of the world's model serves."""
    key = said.pop("model_id", world.model_id)
    words = Attestation(version=version, environment=environment, deployed_by="ci", **said)
    with world.database.write() as session:
        return deployments.attest(session, world.caller, key, words)


def closed(world: World, *sample_ids: str, verdict: Any = "PASS", **order: Any) -> DeletionRequest:  # noqa: ANN401 - a verdict; fields of the order
    """Open a request and let the workers close it."""
    key = world.request(*sample_ids, **order)
    world.work(verdict)
    return world.get(key)


def held(world: World, number: int, model_id: uuid.UUID | None = None) -> Held:
    """Return what a version holds."""
    with world.database.read() as session:
        model = session.get_one(Model, model_id or world.model_id)
        query = session.query(ModelVersion).filter_by(model_id=model.id, number=number)
        return Holdings(session, model).of(query.one())


def stale(world: World) -> list[tuple[str, int]]:
    """Return environments that serve erased data, with the number of samples."""
    with world.database.read() as session:
        rows = deployments.list_deployments(session, world.caller, stale=True).items
        return [
            (one.row.environment, one.held.samples) for one in deployments.placed(session, rows)
        ]


def test_a_roll_back_to_erased_data_is_refused(database: Database) -> None:
    world = _company(database)
    before = attest(world, 1)
    assert stale(world) == []
    request = closed(world, "s0", "s1")
    assert held(world, 1) == Held(2, request.closed_at)
    assert held(world, 2) == Held()
    assert stale(world) == [("prod", 2)]
    attest(world, 2)
    assert stale(world) == []
    with pytest.raises(Conflict) as caught:
        attest(world, 1)
    assert caught.value.code == "version_holds_erased_data"
    assert (caught.value.extensions["count"], caught.value.extensions["current_version"]) == (2, 2)
    with world.database.read() as session:
        ended = session.get_one(Deployment, before.id).ended_at
        assert ended is not None
        serving = deployments.serving(session, world.model_id)
        assert [one.version.number for one in serving] == [2]
        found = deployments.list_deployments(session, world.caller, active=False).items
        assert [row.id for row in found] == [before.id]


def test_what_was_deployed_before_the_closing_is_kept_and_stale(world: World) -> None:
    closed(world, "s0")
    attest(world, 1, deployed_at=LONG_AGO)  # said late, and true all the same
    assert stale(world) == [("prod", 1)]


def test_an_open_request_holds_up_no_deployment(world: World) -> None:
    world.request("s0")
    attest(world, 1)
    assert stale(world) == []


def test_only_what_was_current_serves(world: World) -> None:
    key = world.request("s0", ladder=("muda", "retrain"))
    while not any(row.state == "rejected" for row in world.all(ModelVersion)):
        assert world.work("FAIL", limit=1)
    with pytest.raises(Conflict) as caught:
        attest(world, 2)
    assert caught.value.code == "version_not_promoted"
    world.work("PASS")
    result = world.get(key)
    assert result.status == "completed"
    assert held(world, 2).samples == 1
    assert held(world, 3).samples == 0


def test_several_requests_add_up_along_the_chain(world: World) -> None:
    first = closed(world, "s0")
    closed(world, "s1", "s2")
    assert held(world, 1) == Held(3, first.closed_at)
    assert held(world, 2).samples == 2
    assert held(world, 3) == Held()


def test_what_was_measured_to_hold_nothing_may_serve(world: World) -> None:
    closed(world, "s0")
    closed(world, "s1", verdict="NOTHING_TO_REMOVE")
    assert held(world, 2) == Held()
    assert held(world, 1).samples == 2  # of the older version nobody knows


def test_what_a_version_holds_is_told_from_its_run_once_the_samples_are_purged(
    world: World,
) -> None:
    closed(world, "s0")
    with world.database.write() as session:
        session.query(RequestSamples).delete()
    assert held(world, 1).samples == 1


def test_a_retrained_version_holds_nothing_that_was_in_e(world: World) -> None:
    other = world.request("s1", policy="standard")  # another policy: its run comes later
    world.request("s0", ladder=("retrain",), audit="none")
    world.cancel(other)
    world.work("PASS")
    assert held(world, 2) == Held()
    late = world.request("s1", policy="first-look")
    world.work("PASS")
    assert world.get(late).status == "completed"
    assert held(world, 2).samples == 0  # s1 was in E when version 2 was trained
    assert held(world, 1).samples == 2


@pytest.mark.parametrize(("stated", "expected"), [(True, (1, 0)), (None, (0, 1)), (False, (0, 0))])
def test_a_late_model_that_learned_erased_samples_holds_them(
    world: World, stated: bool | None, expected: tuple[int, int]
) -> None:
    closed(world, "s0")
    late = add_model(world, "late", trained_on_erased=stated)
    found = held(world, 1, late)
    assert (found.samples, found.suspect) == expected
    if stated:
        with pytest.raises(Conflict):
            attest(world, 1, model_id=late)
        world.request_for(late, "s0")
        world.work()
        assert held(world, 2, late) == Held()
        attest(world, 2, model_id=late)
    else:
        attest(world, 1, model_id=late)


def test_deployments_follow_each_other_by_the_time_that_was_said(world: World) -> None:
    closed(world, "s0")
    newest = attest(world, 2)
    middle = attest(world, 1, deployed_at=LONG_AGO + timedelta(days=9))
    oldest = attest(world, 1, deployed_at=LONG_AGO)
    elsewhere = attest(world, 2, "test")
    with world.database.read() as session:
        ends = {row.id: row.ended_at for row in session.query(Deployment)}
    assert ends[oldest.id] == middle.deployed_at
    assert ends[middle.id] == newest.deployed_at
    assert (ends[newest.id], ends[elsewhere.id]) == (None, None)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"version": 9}, "not_found"),
        ({"version": 1, "model_id": uuid.UUID(int=1)}, "not_found"),
        ({"version": 1, "deployed_at": datetime(2999, 1, 1, tzinfo=UTC)}, "deployed_in_future"),
    ],
)
def test_what_cannot_be_is_refused(world: World, said: dict[str, Any], code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        attest(world, **said)
    assert caught.value.code == code
    assert isinstance(caught.value, Unprocessable | NotFound)
    assert world.all(Deployment) == []


def test_an_environment_that_is_shut_down_serves_nothing(world: World) -> None:
    row = attest(world, 1)
    closed(world, "s0")
    with world.database.write() as session:
        deployments.end_deployment(session, world.caller, world.model_id, row.id)
    assert stale(world) == []
    with world.database.write() as session, pytest.raises(Conflict):
        deployments.end_deployment(session, world.caller, world.model_id, row.id)


def test_strangers_find_no_deployment(world: World) -> None:
    row = attest(world, 1)
    stranger = Caller(uuid.UUID(int=1), "key:x")
    with world.database.read() as session:
        assert deployments.list_deployments(session, stranger).items == []
        assert deployments.list_deployments(session, stranger, stale=True).items == []
        for key in (row.id, uuid.UUID(int=1)):
            with pytest.raises(NotFound):
                deployments.get_deployment(session, stranger, world.model_id, key)
    other = add_model(world)
    with world.database.read() as session, pytest.raises(NotFound):
        deployments.get_deployment(session, world.caller, other, row.id)


def test_the_report_and_the_log_tell_where_the_old_version_serves(world: World) -> None:
    attest(world, 1, "prod")
    attest(world, 1, "edge")
    closed(world, "s0")
    copies = [copy for copy in world.contexts[-1].residual_copies if copy.what == "deployment"]
    assert [(copy.name, copy.where, copy.contains) for copy in copies] == [
        ("version 1 in edge", "edge", True),
        ("version 1 in prod", "prod", True),
    ]
    with world.database.read() as session:
        told = [
            row.payload for row in session.query(AuditEvent).filter_by(action="deployment.stale")
        ]
    assert [entry["environment"] for entry in told] == ["edge", "prod"]
    attest(world, 2, "edge")
    attest(world, 2, "prod")
    closed(world, "s1")
    copies = [copy for copy in world.contexts[-1].residual_copies if copy.what == "deployment"]
    assert [copy.name for copy in copies] == ["version 2 in edge", "version 2 in prod"]
    assert world.all(WebhookDelivery) == []
