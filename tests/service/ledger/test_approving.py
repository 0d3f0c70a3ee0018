"""A candidate that needs approval waits for it, and no other run overtakes."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from service import ledger
from service.database import Database, Limits
from service.errors import Conflict
from service.ledger import Caller
from service.ledger.approving import Decision
from service.tables import Approval, AuditEvent, ModelVersion, Report
from tests.service.ledger.world import World

LADDER = ("muda", "retrain")


def decide(
    world: World,
    request_id: uuid.UUID,
    decision: Decision = "approved",
    actor: str = "key:officer",
    **terms: Any,  # noqa: ANN401 - `reason_code` and `candidate`
) -> None:
    wanted = {"reason_code": "other", "candidate": None, **terms}
    with world.database.write() as session:
        caller = Caller(world.caller.tenant_id, actor)
        ledger.decide(session, caller, request_id, decision, publish=world._publish, **wanted)


def phase(world: World, request_id: uuid.UUID) -> str:
    with world.database.read() as session:
        row = ledger.get_request(session, world.caller, request_id)
        return ledger.progress_of(session, row).phase


def waiting(world: World, sample: str = "s0", **terms: Any) -> uuid.UUID:  # noqa: ANN401 - fields of the order
    request_id = world.request(sample, **{"approval": True, "ladder": LADDER, **terms})
    world.work("PASS")
    assert phase(world, request_id) == "awaiting_approval"
    return request_id


def test_nothing_is_promoted_or_reported_before_somebody_approves(world: World) -> None:
    request_id = waiting(world)
    assert world.current().number == 1
    assert world.all(Report) == []
    assert world.get(request_id).status == "in_progress"
    decide(world, request_id, reason_code="evidence_reviewed", candidate=2)
    assert world.current().number == 2
    assert world.get(request_id).verdict == "PASS"
    assert [report.request_id for report in world.all(Report)] == [request_id]
    [row] = world.all(Approval)
    assert (row.decision, row.decided_by) == ("approved", "key:officer")
    with world.database.read() as session:
        event = session.query(AuditEvent).where(AuditEvent.action == "run.approved").one()
        assert ledger.verify_chain(session, world.caller.tenant_id).ok
    assert event.payload["code"] == "evidence_reviewed"
    assert event.actor == "key:officer"


def test_no_other_run_of_the_model_overtakes_one_that_waits(world: World) -> None:
    request_id = waiting(world)
    later = world.request("s1")
    world.work("PASS")
    with world.database.write() as session:
        assert ledger.plan_run(session, world.model_id) is None
    assert world.get(later).status == "pending"
    decide(world, request_id)
    world.work("PASS")
    assert world.get(later).status == "completed"
    assert world.current().number == 3


def test_a_rejected_candidate_is_put_aside_and_the_run_climbs(world: World) -> None:
    request_id = waiting(world)
    decide(world, request_id, "rejected", reason_code="utility_loss")
    assert world.run_of(request_id).rung == 1
    world.work("PASS")
    assert phase(world, request_id) == "awaiting_approval"
    decide(world, request_id, candidate=3)
    assert (world.get(request_id).verdict, world.current().number) == ("RETRAINED", 3)
    states = {version.number: str(version.state) for version in world.all(ModelVersion)}
    assert states == {1: "superseded", 2: "rejected", 3: "current"}


def test_without_a_rung_left_a_rejection_fails_the_requests(world: World) -> None:
    request_id = waiting(world, ladder=("muda",))
    decide(world, request_id, "rejected")
    row = world.get(request_id)
    assert (row.status, row.reason_code) == ("failed", "not_approved")
    assert world.current().number == 1
    assert world.run_of(request_id).state == "failed"


def test_what_a_person_put_aside_is_not_called_rejected_by_the_audit(world: World) -> None:
    for sample in ("s0", "s1", "s2"):
        request_id = waiting(world, sample)
        decide(world, request_id, "rejected", reason_code="utility_loss")
        world.work("PASS")
        decide(world, request_id)
        [note] = world.run_of(request_id).passed_over
        assert (note["rung"], note["code"]) == (0, "not_approved")
        assert note["detail"].endswith("by key:officer, not by its audit: utility_loss.")
        assert list(world.contexts[-1].passed_over) == [note]
    plain = world.run_of(world.request("s3", ladder=LADDER))
    assert (plain.rung, plain.passed_over) == (0, [])


def test_a_failed_climb_says_that_a_candidate_was_not_approved(world: World) -> None:
    request_id = waiting(world, ladder=("muda", "distilled_recovery"))
    decide(world, request_id, "rejected")
    world.work("FAIL")
    row = world.get(request_id)
    assert (row.status, row.reason_code) == ("failed", "no_rung_left")
    assert "passed its audit and was approved" in (row.reason or "")


def test_who_asked_cannot_approve(world: World) -> None:
    request_id = waiting(world)
    with pytest.raises(Conflict) as caught:
        decide(world, request_id, actor=world.caller.actor)
    assert caught.value.code == "approver_is_requester"
    assert world.current().number == 1


def test_another_candidate_than_the_one_that_was_seen_is_refused(world: World) -> None:
    request_id = waiting(world)
    with pytest.raises(Conflict) as caught:
        decide(world, request_id, candidate=7)
    assert (caught.value.code, caught.value.extensions) == ("other_candidate", {"candidate": 2})


def test_what_does_not_wait_cannot_be_decided(world: World) -> None:
    plain = world.request("s0")
    for _ in range(2):
        with pytest.raises(Conflict) as caught:
            decide(world, plain)
        assert caught.value.code == "not_awaiting_approval"
        world.work("PASS")
    assert world.get(plain).status == "completed"


def test_a_request_that_leaves_takes_the_question_back(world: World) -> None:
    pair = [world.request(f"s{i}", approval=True, ladder=LADDER) for i in range(3)][1:]
    world.work("PASS")
    decide(world, _first(world))
    world.work("PASS")
    assert [phase(world, key) for key in pair] == ["awaiting_approval"] * 2
    world.cancel(pair[0])
    assert [row.decision for row in world.all(Approval)] == ["approved", "withdrawn"]
    assert phase(world, pair[1]) != "awaiting_approval"
    world.work("PASS")
    decide(world, pair[1])
    assert world.get(pair[1]).status == "completed"
    assert world.get(pair[0]).status == "cancelled"


def _first(world: World) -> uuid.UUID:
    with world.database.read() as session:
        return ledger.list_requests(session, world.caller).items[-1].id


def test_requests_with_and_without_approval_share_no_run(world: World) -> None:
    world.request("s9")
    plain, asked = world.request("s0"), world.request("s1", approval=True)
    world.work("PASS")
    assert world.get(plain).status == "completed"
    assert phase(world, asked) == "awaiting_approval"


def test_what_promotes_nothing_needs_no_approval(world: World) -> None:
    request_id = world.request("s0", approval=True)
    world.work("NOTHING_TO_REMOVE")
    assert (world.get(request_id).status, world.all(Approval)) == ("completed", [])


def test_an_operator_can_ask_for_approval_by_policy(database: Database) -> None:
    database.limits = replace(database.limits, approval_policies=("first-look",))
    try:
        world = World(database)
        world.register()
        world.appoint()
        assert world.get(world.request("s0")).needs_approval
        assert not world.get(world.request("s1", policy="standard")).needs_approval
    finally:
        database.limits = Limits()
