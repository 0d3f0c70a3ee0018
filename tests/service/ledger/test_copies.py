"""Copies of requested samples under other ids: who learns of them, and what becomes of them."""

import json
import uuid
from dataclasses import replace

import pytest

from service import ledger
from service.commitment import merkle_root
from service.database import Database
from service.errors import NotFound, Unprocessable
from service.ledger import Caller, CopyCounts, FoundCopy, SampleRow
from service.tables import AuditEvent, Job, JobKind
from tests.service.ledger.answers import answer, publish
from tests.service.ledger.world import World, rows

SAME_AS_S0 = ("s4", "s7", "h1")
"""Samples whose files equal that of s0; s4 and s7 have other labels, h1 is held out."""


def rows_with_copies() -> list[SampleRow]:
    """Return the usual samples, three of them with the file of s0."""
    plain = rows()
    digest = plain[0].sha256
    return [row._replace(sha256=digest) if row.sample_id in SAME_AS_S0 else row for row in plain]


@pytest.fixture
def world(database: Database) -> World:
    """Return a company that registered some pictures twice."""
    world = World(database)
    world.register(samples=rows_with_copies())
    return world


def counts(world: World, request_id: uuid.UUID) -> CopyCounts:
    """Return what a caller may learn."""
    with world.database.read() as session:
        found = ledger.copy_counts(session, world.get(request_id))
    assert found is not None
    return found


def listed(world: World, request_id: uuid.UUID, limit: int = 100) -> list[FoundCopy]:
    """Return all copies of a request, page by page."""
    items: list[FoundCopy] = []
    cursor = None
    while True:
        with world.database.read() as session:
            page = ledger.list_copies(session, world.caller, request_id, cursor, limit)
        assert len(page.items) <= limit
        items += page.items
        if (cursor := page.next_cursor) is None:
            return items


def test_equal_files_are_counted_and_stay_out_unless_asked_for(world: World) -> None:
    request_id = world.request("s0", "s1")
    assert counts(world, request_id) == CopyCounts(2, None, 1, 0)
    assert world.get(request_id).num_samples == 2
    assert world.erased() == {0, 1}
    copies = listed(world, request_id)
    assert [copy.sample_id for copy in copies] == ["h1", "s4", "s7"]
    assert {(copy.kind, copy.erased) for copy in copies} == {("byte_equal", False)}


def test_equal_files_that_are_asked_for_are_forgotten_like_any_other(world: World) -> None:
    request_id = world.request("s0", "s1", include_duplicates="byte_equal")
    request = world.get(request_id)
    assert counts(world, request_id) == CopyCounts(0, None, 1, 2)
    assert request.num_samples == 4
    assert request.commitment_salt is not None
    names = ["s0", "s1", "s4", "s7"]
    assert request.commitment_root == merkle_root(request.commitment_salt, names)
    assert len(world.erased()) == 4
    world.work()
    roles = [handed.roles for handed in world.handed if handed.kind == JobKind.UNLEARN][-1]
    assert {uri for uri, role in roles.items() if role == "forget"} == {
        "0.png",
        "1.png",
        "4.png",
        "7.png",
    }
    assert [copy.sample_id for copy in listed(world, request_id)] == ["h1"]


def test_copies_named_in_the_request_itself_are_none(world: World) -> None:
    request_id = world.request("s0", "s4", "s7", include_duplicates="byte_equal")
    assert counts(world, request_id) == CopyCounts(0, None, 1, 0)


def test_a_copy_that_was_erased_already_neither_counts_nor_comes_again(world: World) -> None:
    world.request("s4")
    world.work()
    open_one = world.request("s7")
    last = world.request("s0", include_duplicates="byte_equal")
    assert counts(world, last) == CopyCounts(0, None, 1, 0)
    assert world.get(last).num_samples == 1
    assert counts(world, open_one).byte_equal == 1  # s0, before it was requested
    assert {c.sample_id: c.erased for c in listed(world, open_one)} == {"s0": True, "h1": False}


def test_a_copy_of_a_withdrawn_request_may_come_again(world: World) -> None:
    world.cancel(world.request("s4"))
    request_id = world.request("s0", include_duplicates="byte_equal")
    assert counts(world, request_id).included == 2


def test_copies_of_a_sample_erased_earlier_are_still_told_to_who_asked(world: World) -> None:
    request_id = world.request("s0")
    world.work()
    assert world.contexts[-1].near_duplicates == {
        "byte_equal": 2,
        "near": None,
        "in_holdout": 1,
        "included": 0,
    }
    world.request("s4", "s7")
    world.work()
    assert {copy.sample_id for copy in listed(world, request_id) if copy.erased} == {"s4", "s7"}


def test_copies_that_would_leave_nothing_to_train_on_are_refused(database: Database) -> None:
    world = World(database)
    one = rows()[0].sha256
    world.register(samples=[row._replace(sha256=one) for row in rows()])
    with pytest.raises(Unprocessable) as caught:
        world.request("s0", include_duplicates="byte_equal")
    assert caught.value.code == "nothing_left"
    assert world.erased() == set()


def test_what_a_worker_finds_is_kept_and_reported_as_counts_of_r(world: World) -> None:
    world.copies = {"byte_equal": ["5.png"], "near": ["8.png", "5.png", "h2.png"]}
    request_id = world.request("s0")
    world.work()
    assert counts(world, request_id) == CopyCounts(3, 1, 2, 0)
    kinds = {copy.sample_id: copy.kind for copy in listed(world, request_id, limit=2)}
    equal, near = ("s4", "s5", "s7", "h1"), ("s8", "h2")
    assert kinds == dict.fromkeys(equal, "byte_equal") | dict.fromkeys(near, "near")
    told = {"byte_equal": 3, "near": 1, "in_holdout": 2, "included": 0}
    assert world.contexts[-1].near_duplicates == told


def test_a_copy_that_another_request_of_the_run_forgets_did_not_remain(world: World) -> None:
    world.copies = {"byte_equal": [], "near": ["8.png"]}
    first = world.request("s1")
    second, third = world.request("s0"), world.request("s4")
    world.work()
    told = {context.subject.id: context.near_duplicates for context in world.contexts}
    assert told[first] == {"byte_equal": 0, "near": 1, "in_holdout": 0, "included": 0}
    for request_id in (second, third):
        assert told[request_id] == {"byte_equal": 1, "near": 1, "in_holdout": 1, "included": 0}


def test_without_an_audit_the_unlearning_job_searches(world: World) -> None:
    world.copies = {"byte_equal": [], "near": ["8.png"]}
    request_id = world.request("s1", audit="none", ladder=["retrain"])
    world.work()
    assert world.get(request_id).verdict == "RETRAINED"
    told = {"byte_equal": 0, "near": 1, "in_holdout": 0, "included": 0}
    assert world.contexts[-1].near_duplicates == told


def test_with_an_audit_the_unlearning_job_learns_no_forget_sets(world: World) -> None:
    world.request("s1")
    world.work()
    [spec] = [handed.spec for handed in world.handed if handed.kind == JobKind.UNLEARN]
    assert "forget_sets" not in spec


def test_an_audit_of_foreign_weights_is_told_counts(world: World) -> None:
    world.copies = {"byte_equal": ["4.png", "7.png"], "near": []}
    world.audit("s0")
    world.work()
    told = {"byte_equal": 2, "near": 0, "in_holdout": 0, "included": 0}
    assert world.contexts[-1].near_duplicates == told
    world.copies = None
    world.audit("s0")
    world.work()
    assert world.contexts[-1].near_duplicates is None


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ({"byte_equal": [99], "near": []}, "does not have"),
        ({"byte_equal": [], "near": [-1]}, "does not have"),
        ({"byte_equal": [True], "near": []}, "does not have"),
        ({"byte_equal": ["s4"], "near": []}, "does not have"),
        ({"byte_equal": [0], "near": []}, "not in R"),  # s0, of the forget set itself
        ({"byte_equal": []}, "lacks"),
        (None, "lacks"),
    ],
)
def test_a_child_that_names_other_samples_is_not_believed(
    world: World, found: object, error: str
) -> None:
    request_id = world.request("s0")
    claim = world.hold(JobKind.AUDIT)
    with world.database.read() as session:
        spec = ledger.build_package(session, claim).spec
    result = answer(spec, claim, "PASS")
    result["near_duplicates"] = {str(request_id): found}
    with pytest.raises(ValueError, match=error), world.database.write() as session:
        ledger.complete(session, claim, result, publish)
    assert world.get(request_id).status == "in_progress"
    assert counts(world, request_id).near is None


def test_no_id_position_or_ordinal_of_a_copy_is_in_events_or_results(world: World) -> None:
    world.copies = {"byte_equal": ["5.png"], "near": ["8.png"]}
    world.request("s0", include_duplicates="byte_equal")
    world.request("s1")
    world.work()
    with world.database.read() as session:
        events = [event.payload for event in session.query(AuditEvent)]
    [first, second] = [event for event in events if "equal_copies_left" in event]
    assert (first["equal_copies_included"], first["equal_copies_left"]) == (2, 0)
    assert (second["equal_copies_included"], second["equal_copies_left"]) == (0, 0)
    kept = json.dumps([events, [job.result for job in world.all(Job)]])
    assert "near_duplicates" not in kept
    assert not any(f'"{name}"' in kept for name in ("s0", "s4", "s5", "s7", "s8", "h1"))


def test_the_list_is_bound_to_its_tenant_and_its_cursor(world: World) -> None:
    request_id = world.request("s0")
    with world.database.read() as session:
        stranger = replace(world.caller, tenant_id=uuid.uuid4())
        assert isinstance(stranger, Caller)
        with pytest.raises(NotFound):
            ledger.list_copies(session, stranger, request_id)
        with pytest.raises(Unprocessable) as caught:
            ledger.list_copies(session, world.caller, request_id, "s4")
    assert caught.value.code == "bad_cursor"
    assert [copy.sample_id for copy in listed(world, request_id, limit=1)] == ["h1", "s4", "s7"]
