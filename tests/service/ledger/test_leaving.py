"""Requests are held, released, withdrawn and put off, at every stage of their run."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from service import ledger
from service.config import Settings
from service.errors import Conflict
from service.ledger import Caller
from service.tables import (
    AuditEvent,
    DeletionRequest,
    Job,
    JobKind,
    ModelVersion,
    Reference,
    Report,
    Run,
)
from tests.service.ledger.purges import ERASER, purge_rows
from tests.service.ledger.world import World

LADDER = ("muda", "retrain")


def hold(world: World, request_id: uuid.UUID, reason: str = "legal_claims") -> None:
    with world.database.write() as session:
        ledger.hold_request(session, world.caller, request_id, reason)


def release(world: World, request_id: uuid.UUID) -> None:
    with world.database.write() as session:
        ledger.release_request(session, world.caller, request_id)


def extend(world: World, request_id: uuid.UUID, reason: str = "complexity") -> None:
    with world.database.write() as session:
        ledger.extend_request(session, world.caller, request_id, reason)


def events(world: World, action: str) -> list[AuditEvent]:
    with world.database.read() as session:
        return list(session.query(AuditEvent).where(AuditEvent.action == action))


def refusal(act: Callable[[World, uuid.UUID], None], world: World, request_id: uuid.UUID) -> str:
    with pytest.raises(Conflict) as caught:
        act(world, request_id)
    return caught.value.code


def to_waiting(_: World) -> None:
    """Leave the run as it was planned."""


def to_references(world: World) -> None:
    world.hold(JobKind.REFERENCE)


def to_unlearning(world: World) -> None:
    world.hold(JobKind.UNLEARN)


def to_auditing(world: World) -> None:
    world.hold(JobKind.AUDIT)


def to_approval(world: World) -> None:
    world.work("PASS")


STAGES = [to_waiting, to_references, to_unlearning, to_auditing, to_approval]


@pytest.mark.parametrize("reach", STAGES)
def test_a_held_request_is_in_no_run_until_it_is_released(
    world: World, reach: Callable[[World], None]
) -> None:
    held = world.request("s0", approval=reach is to_approval)
    other = world.request("s1", approval=reach is to_approval, ladder=LADDER)
    reach(world)
    hold(world, held)
    assert world.get(held).status == "on_hold"
    assert world.get(held).run_id is None
    world.make_due()
    for job in world.all(Job):
        if job.status == "running":
            world.expire(job.id)
    with world.database.write() as session:
        ledger.sweep(session, Settings(lease_s=1e-6))
    world.make_due()
    world.work("PASS")
    if reach is not to_approval:
        assert world.get(other).status == "completed"
    assert world.get(held).status == "on_hold"
    assert all(handed.roles.get("0.png") != "retain" for handed in world.handed if handed.run_id)
    assert held not in {report.request_id for report in world.all(Report)}
    release(world, held)
    assert world.get(held).status in ("pending", "in_progress")


def test_the_run_goes_on_from_its_rung_without_the_held_request(world: World) -> None:
    blocker = world.request("s9")
    pair = [world.request("s0"), world.request("s1")]
    world.work("PASS", limit=4)
    while world.get(blocker).status != "completed":
        world.work("PASS", limit=1)
    run = world.run_of(pair[0])
    claim = world.hold(JobKind.AUDIT)
    hold(world, pair[0])
    assert not world.finish_late(claim)
    world.work("PASS")
    assert world.get(pair[1]).status == "completed"
    assert world.run_of(pair[1]).id == run.id
    assert len(events(world, "run.restarted")) == 1
    assert world.contexts[-1].subject.id == pair[1]


def test_a_held_request_keeps_its_samples_erased_and_its_clock_running(world: World) -> None:
    request_id = world.request("s0")
    due = world.get(request_id).due_at
    hold(world, request_id)
    assert world.erased() == {0}
    assert world.get(request_id).due_at == due
    with pytest.raises(Conflict) as caught:
        world.request("s0")
    assert caught.value.code == "already_requested"
    with world.database.write() as session:
        past = due - timedelta(days=60)
        session.execute(update(DeletionRequest).values(due_at=past))
    with world.database.read() as session:
        late = ledger.list_requests(session, world.caller, overdue=True).items
    assert [row.id for row in late] == [request_id]


def test_holds_are_audited_with_their_reason(world: World) -> None:
    request_id = world.request("s0")
    hold(world, request_id, "legal_obligation")
    [event] = events(world, "deletion-request.on_hold")
    assert event.actor == world.caller.actor
    assert event.payload == {"code": "legal_obligation", "previous": "in_progress"}
    row = world.get(request_id)
    assert (row.hold_reason, row.held_at is None) == ("legal_obligation", False)
    release(world, request_id)
    row = world.get(request_id)
    assert (row.hold_reason, row.held_at, row.status) == (None, None, "in_progress")


def test_what_cannot_be_held_or_released_is_refused(world: World) -> None:
    request_id = world.request("s0")
    assert refusal(release, world, request_id) == "not_on_hold"
    hold(world, request_id)
    assert refusal(hold, world, request_id) == "already_on_hold"
    world.cancel(request_id)
    assert world.get(request_id).status == "cancelled"
    for act in (hold, release, extend):
        assert refusal(act, world, request_id) == "already_closed"


def test_a_completed_request_can_no_longer_be_held_or_withdrawn(world: World) -> None:
    request_id = world.request("s0")
    world.work("PASS")
    assert refusal(hold, world, request_id) == "already_closed"
    assert refusal(lambda w, key: w.cancel(key), world, request_id) == "already_closed"


def test_nothing_is_purged_while_a_request_is_on_hold(world: World, tmp_path: Path) -> None:
    world.request("s0", ladder=LADDER)
    world.work(lambda _: "FAIL", limit=5)  # a rejected candidate is left behind
    world.work("PASS")
    held = world.request("s1")
    hold(world, held)
    assert any(version.state == "rejected" for version in world.all(ModelVersion))
    at_once = {"reference_grace_s": 0, "keep_superseded_days": 0, "keep_samples_days": 0}
    assert purge_rows(world, tmp_path, eraser=ERASER, **at_once) == []
    world.cancel(held)
    given_up = {row.what for row in purge_rows(world, tmp_path, eraser=ERASER, **at_once)}
    assert given_up == {"reference", "candidate", "version", "samples", "dropped_samples"}
    assert "ready" not in {row.state for row in world.all(Reference)}


def test_a_deadline_is_put_off_once_with_its_reason(world: World) -> None:
    request_id = world.request("s0")
    first = world.get(request_id).due_at
    extend(world, request_id, "number_of_requests")
    row = world.get(request_id)
    assert (row.first_due_at, row.extension_reason) == (first, "number_of_requests")
    assert row.due_at == ledger.extended_due_at(first)
    assert "two further" in row.due_rule
    [event] = events(world, "deletion-request.extended")
    assert event.payload["code"] == "number_of_requests"
    assert refusal(extend, world, request_id) == "already_extended"


def test_a_deadline_that_has_passed_cannot_be_put_off(world: World) -> None:
    asked = datetime.now(UTC) - timedelta(days=40)
    request_id = world.request("s0", submitted_time=asked)
    assert refusal(extend, world, request_id) == "deadline_passed"
    assert world.get(request_id).first_due_at is None


def test_the_clock_starts_when_the_person_asked_and_never_later_than_now(world: World) -> None:
    asked = datetime.now(UTC) - timedelta(days=10)
    early = world.get(world.request("s0", submitted_time=asked))
    assert early.due_at == ledger.due_at(early.submitted_time)
    ahead = world.get(world.request("s1", submitted_time=asked + timedelta(days=400)))
    assert ahead.due_at == ledger.due_at(ahead.received_at)


def test_requests_of_strangers_cannot_be_held(world: World) -> None:
    request_id = world.request("s0")
    stranger = Caller(uuid.uuid4(), "key:else")
    for act in (ledger.hold_request, ledger.extend_request):
        with pytest.raises(Exception, match="no such"), world.database.write() as session:
            act(session, stranger, request_id, "other")
    assert world.all(Run)[0].state == "active"


def test_no_report_promises_a_date_while_a_hold_keeps_the_files(world: World) -> None:
    world.request("s0", ladder=LADDER)
    hold(world, world.request("s1"))
    world.work(lambda _: "FAIL")
    kept = [copy for copy in world.contexts[-1].residual_copies if copy.what != "cache"]
    assert {copy.what for copy in kept} == {"version", "candidate", "reference"}
    assert {(copy.until, copy.held) for copy in kept} == {(None, True)}
    release(world, world.all(DeletionRequest)[-1].id)
    world.work("PASS")
    later = {copy.what: copy for copy in world.contexts[-1].residual_copies}
    assert not any(copy.held for copy in later.values())
    assert later["candidate"].until is not None
