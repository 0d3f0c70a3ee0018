"""One wish over all models of a data set: all of it is accepted or none, and closed together."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bitmaps import unpack
from service.database import Database
from service.errors import Conflict, NotFound, ServiceError, Unprocessable
from service.ledger import Caller, group_acts, request_groups
from service.ledger.states import MOVES, group_status
from service.tables import DeletionRequest, RequestGroup, RequestStatus, Run
from tests.service.ledger.groups import act, add_model, ask_all, group, group_order
from tests.service.ledger.world import World


@pytest.fixture
def world(sqlite_database: Database) -> World:
    """Return a company on SQLite; one test below plays on both databases."""
    return _company(sqlite_database)


def _company(database: Database) -> World:
    world = World(database)
    world.register()
    return world


def test_every_model_forgets_and_the_group_is_completed_with_the_last(database: Database) -> None:
    world = _company(database)
    other = add_model(world)
    group_id = ask_all(world, "s0", "s1", subject_request_id="DSR-1")
    row, members = group(world, group_id)
    assert {member.model_id for member in members} == {world.model_id, other}
    assert (row.status, row.num_samples, row.left_out) == ("in_progress", 2, [])
    assert {member.subject_request_id for member in members} == {"DSR-1"}
    assert len(world.erased()) == 2
    seen = set()
    while world.work(limit=1):
        row, members = group(world, group_id)
        statuses = {str(member.status) for member in members}
        seen.add((str(row.status), "completed" in statuses))
        assert (row.status == "completed") == (statuses == {"completed"})
    assert ("in_progress", True) in seen  # one was ready before the other, and the group was not
    assert row.status == "completed"
    assert row.closed_at is not None
    reports = [context.subject.subject_request_id for context in world.contexts]
    assert reports == ["DSR-1", "DSR-1"]


def test_one_refusal_refuses_the_whole_group_and_names_the_model(world: World) -> None:
    other = add_model(world)
    world.request_for(other, "s5")
    before = world.erased()
    with pytest.raises(Conflict) as caught:
        ask_all(world, "s0", "s5")
    assert caught.value.code == "already_requested"
    assert caught.value.extensions["model_id"] == str(other)
    assert world.all(RequestGroup) == []
    assert len(world.all(DeletionRequest)) == 1
    assert world.erased() == before


def test_a_model_that_cannot_forget_refuses_until_it_is_left_out(world: World) -> None:
    fixed = add_model(world, "fixed", recipe=None)
    with pytest.raises(Unprocessable) as caught:
        ask_all(world, "s0")
    assert (caught.value.code, caught.value.extensions["model_id"]) == (
        "recipe_required",
        str(fixed),
    )
    row, members = group(world, ask_all(world, "s0", leave_out=[fixed]))
    assert [member.model_id for member in members] == [world.model_id]
    assert row.left_out == [{"model_id": str(fixed), "code": "by_caller"}]


def test_what_a_model_forgot_before_is_left_out_of_its_member(world: World) -> None:
    other = add_model(world)
    world.request("s0")
    world.work()
    row, members = group(world, ask_all(world, "s0", "s1"))
    sizes = {member.model_id: member.num_samples for member in members}
    assert sizes == {world.model_id: 1, other: 2}
    assert row.num_samples == 2
    world.work()
    with pytest.raises(Conflict) as caught:
        ask_all(world, "s0", "s1")
    assert caught.value.code == "already_erased"
    third = add_model(world, "third")
    row, members = group(world, ask_all(world, "s0"))
    assert [member.model_id for member in members] == [third]
    assert [entry["code"] for entry in row.left_out] == ["holds_none", "holds_none"]


@pytest.mark.parametrize(
    ("sample_ids", "fields", "code"),
    [
        ((), {}, "no_samples"),
        (("nobody",), {}, "unknown_samples"),
        (("h0",), {}, "not_training_samples"),
        (("s0",), {"leave_out": [uuid.UUID(int=1)]}, "not_found"),
        (("s0",), {"dataset_id": uuid.UUID(int=1)}, "not_found"),
        (tuple(f"s{i}" for i in range(12)), {}, "nothing_left"),
    ],
)
def test_a_wish_that_makes_no_sense_changes_nothing(
    world: World, sample_ids: tuple[str, ...], fields: dict[str, Any], code: str
) -> None:
    order = replace(group_order(world, *sample_ids), **fields)
    with pytest.raises(ServiceError) as caught, world.database.write() as session:
        request_groups.open_group(session, world.caller, order)
    assert caught.value.code == code
    assert world.all(RequestGroup) == []
    assert world.erased() == set()


def test_another_tenant_finds_no_group(world: World) -> None:
    group_id = ask_all(world, "s0")
    stranger = Caller(uuid.UUID(int=1), "key:x")
    with world.database.read() as session:
        with pytest.raises(NotFound):
            group_acts.get_group(session, stranger, group_id)
        assert group_acts.list_groups(session, stranger).items == []


def test_a_subject_request_names_a_request_or_a_group_and_not_both(world: World) -> None:
    add_model(world)
    group_id = ask_all(world, "s0", subject_request_id="DSR-1")
    for ask in (ask_all, World.request):
        with pytest.raises(Conflict) as caught:
            ask(world, "s1", subject_request_id="DSR-1")
        assert caught.value.code == "subject_request_exists"
        assert caught.value.extensions["location"].endswith(f"groups/{group_id}")
    act(world, group_id, "cancel")
    request_id = world.request("s1", subject_request_id="DSR-1")
    with pytest.raises(Conflict) as caught:
        ask_all(world, "s2", subject_request_id="DSR-1")
    assert caught.value.extensions["location"].endswith(f"requests/{request_id}")


def test_an_act_reaches_all_open_members(world: World) -> None:
    add_model(world)
    group_id = ask_all(world, "s0")
    assert act(world, group_id, "hold", "legal_claims") == "on_hold"
    assert {member.hold_reason for member in group(world, group_id)[1]} == {"legal_claims"}
    assert not [run for run in world.all(Run) if run.state == "active"]
    _refused(world, group_id, "hold", "already_on_hold")
    assert act(world, group_id, "release") == "in_progress"
    _refused(world, group_id, "release", "not_on_hold")
    act(world, group_id, "extend", "complexity")
    assert all(member.first_due_at for member in group(world, group_id)[1])
    _refused(world, group_id, "extend", "already_extended")
    assert act(world, group_id, "cancel") == "cancelled"
    for what in ("hold", "release", "extend", "cancel"):
        _refused(world, group_id, what, "already_closed")
    assert world.erased() == {0}  # E only grows


def test_a_member_can_go_its_own_way_and_the_group_is_not_completed(world: World) -> None:
    add_model(world)
    group_id = ask_all(world, "s0")
    first, second = (member.id for member in group(world, group_id)[1])
    world.cancel(first)
    assert group(world, group_id)[0].status == "in_progress"
    world.work()
    assert world.get(second).status == "completed"
    assert group(world, group_id)[0].status == "cancelled"


def test_a_model_registered_later_trains_without_what_the_group_erased(world: World) -> None:
    ask_all(world, "s0")
    world.work()
    late = add_model(world, "late")
    world.request_for(late, "s1")
    run = next(run for run in world.all(Run) if run.model_id == late)
    assert set(unpack(run.erased)) >= world.erased()
    world.work()
    references = [h for h in world.handed if h.kind == "reference" and h.run_id == run.id]
    assert references
    assert all("0.png" not in handed.roles for handed in references)


def _refused(world: World, group_id: uuid.UUID, what: Any, code: str) -> None:  # noqa: ANN401 - an act
    with pytest.raises(Conflict) as caught:
        act(world, group_id, what)
    assert caught.value.code == code


@given(st.sets(st.sampled_from(RequestStatus), min_size=1))
def test_a_group_is_open_while_a_member_is_and_completed_only_with_all(
    members: set[RequestStatus],
) -> None:
    status = group_status(members)
    still = any(member in MOVES[RequestStatus] for member in members)
    assert (status in ("pending", "in_progress", "on_hold")) == still
    assert (status == "completed") == (members == {RequestStatus.COMPLETED})
