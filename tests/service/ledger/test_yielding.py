"""A candidate that nobody decides about does not make others late, and everybody is told of it."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from service import ledger
from service.config import Settings
from service.database import Database, Limits
from service.errors import Conflict
from service.ledger import Caller
from service.ledger.webhooks import EndpointOrder, register_endpoint
from service.sealing import load_sealer
from service.tables import ApiKey, Approval, AuditEvent, ModelVersion, WebhookDelivery
from service.webhooks import PURPOSE
from tests.service.ledger.test_approving import decide, phase, waiting
from tests.service.ledger.world import World

NEAR = datetime.now(UTC) - timedelta(days=26)  # a month is over in at most five days


def sweep(world: World, asked_days_ago: float = 2) -> None:
    asked = datetime.now(UTC) - timedelta(days=asked_days_ago)
    with world.database.write() as session:
        session.execute(update(Approval).values(asked_at=asked))
        ledger.sweep(session, Settings())


def decisions(world: World) -> list[tuple[str | None, str | None]]:
    return [(row.decision, row.reason_code) for row in world.all(Approval)]


def test_a_question_yields_to_a_deadline_and_is_asked_again_later(world: World) -> None:
    asked = waiting(world)
    pressed = world.request("s1", submitted_time=NEAR)
    sweep(world)
    assert decisions(world) == [("withdrawn", "approval_yielded")]
    assert (world.get(asked).status, world.get(asked).run_id) == ("pending", None)
    assert [str(version.state) for version in world.all(ModelVersion)] == ["current", "rejected"]
    world.work("PASS")
    assert world.get(pressed).status == "completed"
    assert phase(world, asked) == "awaiting_approval"
    decide(world, asked, candidate=4)
    assert world.get(asked).status == "completed"
    with world.database.read() as session:
        [event] = session.query(AuditEvent).where(AuditEvent.action == "run.withdrawn")
        assert ledger.verify_chain(session, world.caller.tenant_id).ok
    assert event.payload == {"code": "approval_yielded"}


@pytest.mark.parametrize(
    ("submitted", "approval", "asked_days_ago"),
    [
        pytest.param(datetime.now(UTC), False, 2, id="not due soon"),
        pytest.param(NEAR, True, 2, id="needs approval itself"),
        pytest.param(NEAR, False, 0.5, id="asked just now"),
    ],
)
def test_otherwise_it_stands(
    world: World, submitted: datetime, approval: bool, asked_days_ago: float
) -> None:
    asked = waiting(world)
    world.request("s1", submitted_time=submitted, approval=approval)
    sweep(world, asked_days_ago)
    assert decisions(world) == [(None, None)]
    assert phase(world, asked) == "awaiting_approval"


def test_what_is_due_soon_is_taken_up_before_what_needs_approval(world: World) -> None:
    world.request("s9")
    asked = world.request("s0", approval=True)
    pressed = world.request("s1", submitted_time=NEAR)
    world.work("PASS")
    assert world.get(pressed).status == "completed"
    assert phase(world, asked) == "awaiting_approval"


def test_requests_of_two_callers_that_need_approval_share_no_run(world: World) -> None:
    world.request("s9")
    own = world.request("s0", approval=True)
    with world.database.write() as session:
        wanted = ledger.RequestOrder(
            model_id=world.model_id, sample_ids=("s1",), policy="first-look", approval=True
        )
        colleague = Caller(world.caller.tenant_id, "key:colleague")
        theirs = ledger.open_request(session, colleague, wanted).id
    world.work("PASS")
    decide(world, own, actor="key:colleague")
    world.work("PASS")
    decide(world, theirs, actor=world.caller.actor)
    assert world.get(theirs).status == "completed"


def test_webhooks_are_told_of_every_request_that_waits(world: World, tmp_path: Path) -> None:
    sealer = load_sealer(Settings(home=tmp_path), PURPOSE)
    order = EndpointOrder(
        url="https://hooks.example.com/x", event_types=("request.awaiting_approval",)
    )
    with world.database.write() as session:
        register_endpoint(session, world.caller, order, sealer)
    world.request("s9")
    pair = {world.request(name, approval=True) for name in ("s0", "s1")}
    world.work("PASS")
    bodies = [json.loads(row.body) for row in world.all(WebhookDelivery)]
    assert {uuid.UUID(body["data"]["id"]) for body in bodies} == pair
    assert {body["type"] for body in bodies} == {"request.awaiting_approval"}


def test_only_a_live_key_counts_as_an_approver(world: World) -> None:
    world.appoint()
    past = datetime.now(UTC) - timedelta(days=1)
    for end in ("expires_at", "revoked_at"):
        world.cancel(world.request("s0"))
        with world.database.write() as session:
            session.execute(update(ApiKey).values(expires_at=None, revoked_at=None))
            session.execute(update(ApiKey).values({end: past}))
        wanted = ledger.RequestOrder(
            model_id=world.model_id, sample_ids=("s1",), policy="first-look", approval=True
        )
        with world.database.write() as session, pytest.raises(Conflict) as caught:
            ledger.open_request(session, world.caller, wanted)
        assert caught.value.code == "no_approver"


@pytest.mark.parametrize(
    ("name", "needed"), [("standard", True), ("standard/2", True), ("strict/1", False)]
)
def test_an_operator_names_a_policy_with_or_without_its_version(
    sqlite_database: Database, name: str, needed: bool
) -> None:
    sqlite_database.limits = replace(sqlite_database.limits, approval_policies=(name,))
    try:
        world = World(sqlite_database)
        world.register()
        world.appoint()
        assert world.get(world.request("s0", policy="standard")).needs_approval == needed
    finally:
        sqlite_database.limits = Limits()
