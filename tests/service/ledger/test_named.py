"""What was looked up before the tenant's turn is taken in it only while it is still so."""

import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from service import ledger
from service.bitmaps import unpack
from service.commitment import merkle_root
from service.database import Database
from service.errors import Conflict, ServiceError, Unprocessable
from service.ledger import Caller, RequestOrder, SampleRow, growing
from service.ledger.named import NamedSamples
from service.ledger.orders import GrowthDraft
from service.tables import RequestCopies
from tests.service.ledger.groups import add_model
from tests.service.ledger.purges import ERASER, purge_rows
from tests.service.ledger.test_purging import age
from tests.service.ledger.world import World, rows
from tests.statements import statements


@pytest.fixture
def world(postgres_database: Database) -> World:
    """Return a company on PostgreSQL, where others can write between look and turn."""
    world = World(postgres_database)
    world.register()
    return world


def look(world: World, *names: str, caller: Caller | None = None) -> NamedSamples | None:
    """Look samples up as the HTTP route does before it takes the tenant's turn."""
    with world.database.look() as session:
        return ledger.named_early(session, caller or world.caller, world.model_id, names)


def looked(world: World, *names: str) -> NamedSamples:
    """Do the same where something must be found."""
    found = look(world, *names)
    assert found is not None
    return found


def ask(world: World, early: NamedSamples | None, *names: str) -> uuid.UUID:
    """Open a request in a later transaction than the one that looked."""
    order = RequestOrder(model_id=world.model_id, sample_ids=names, policy="first-look")
    with world.database.write() as session:
        return ledger.open_request(session, world.caller, order, early).id


def grow(world: World, added: Sequence[SampleRow]) -> None:
    """Let the data set grow."""
    draft = GrowthDraft(manifest_uri=world.key("more"), format="csv", rows=added)
    with world.database.write() as session:
        growing.append_samples(session, world.caller, world.dataset_id, draft)


def left_copies(world: World, request_id: uuid.UUID) -> set[int]:
    """Return the ordinals of the copies that stay."""
    with world.database.read() as session:
        return set(unpack(session.get_one(RequestCopies, request_id).byte_equal))


def copy_of(name: str, as_name: str) -> SampleRow:
    """Return a sample with the file of another."""
    return next(row for row in rows() if row.sample_id == name)._replace(sample_id=as_name)


def test_an_early_look_makes_the_same_request(world: World) -> None:
    early = looked(world, "s4", "s1")
    request = world.get(ask(world, early, "s4", "s1"))
    later = world.get(ask(world, None, "s0", "s2"))
    assert world.erased() == {0, 1, 2, 8}  # four hold-out samples lie between s2 and s3
    for row, names in ((request, ["s4", "s1"]), (later, ["s0", "s2"])):
        assert row.num_samples == 2
        assert row.commitment_root == merkle_root(row.commitment_salt or b"", names)
    assert early.commitment is not None
    assert request.commitment_salt == early.commitment.salt


def test_an_early_look_saves_the_turn_its_look_ups(world: World) -> None:
    early = looked(world, "s0", "s1")
    with statements(world.database.engine) as asked:
        ask(world, early, "s0", "s1")
    assert asked
    assert not [statement for statement in asked if "FROM samples" in statement]


def test_a_copy_that_came_between_is_found(world: World) -> None:
    early = looked(world, "s0")
    grow(world, [copy_of("s0", "again")])
    later = add_model(world, "later")
    order = RequestOrder(model_id=later, sample_ids=["s0"], policy="first-look")
    with world.database.write() as session:
        request = ledger.open_request(session, world.caller, order, early).id
    assert left_copies(world, request) == {16}


def test_an_early_look_finds_equal_files(world: World) -> None:
    grow(world, [copy_of("s0", "again"), copy_of("s1", "too"), copy_of("s1", "thrice")])
    later = add_model(world, "later")
    with world.database.look() as session:
        early = ledger.named_early(session, world.caller, later, ["s1", "s0"])
    assert early is not None
    assert set(early.equal or ()) == {0, 1, 16, 17, 18}
    order = RequestOrder(model_id=later, sample_ids=["s1", "s0"], policy="first-look")
    with world.database.write() as session:
        request = ledger.open_request(session, world.caller, order, early).id
    assert left_copies(world, request) == {16, 17, 18}


@pytest.mark.parametrize("names", [("s0", "s1"), ("s1",), ()])
def test_a_look_at_other_samples_is_not_taken(world: World, names: tuple[str, ...]) -> None:
    early = looked(world, "s0")
    if not names:
        with pytest.raises(Unprocessable, match="at least one"):
            ask(world, early)
        return
    assert world.get(ask(world, early, *names)).num_samples == len(names)
    assert len(world.erased()) == len(names)


def test_what_was_asked_for_between_is_refused(world: World) -> None:
    early = looked(world, "s0", "s1")
    world.request("s1")
    with pytest.raises(Conflict) as caught:
        ask(world, early, "s0", "s1")
    assert caught.value.code == "already_requested"
    world.work()
    with pytest.raises(Conflict) as caught:
        ask(world, early, "s0", "s1")
    assert caught.value.code == "already_erased"
    assert world.erased() == {1}


def test_what_the_model_never_learned_is_refused_place_by_place(world: World) -> None:
    grow(world, [SampleRow("n0", 0, "train", "n0.png", "ab" * 32)])
    early = looked(world, "s0", "n0")
    with pytest.raises(Unprocessable) as caught:
        ask(world, early, "s0", "n0")
    assert caught.value.code == "not_training_samples"
    assert [entry["pointer"] for entry in caught.value.errors] == ["/sample_ids/1"]


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ((), "no_samples"),
        (("s0", "s0"), "repeated_samples"),
        (("s0", "nobody"), "unknown_samples"),
        (("s0", "h1"), "not_training_samples"),
    ],
)
def test_the_turn_says_what_is_wrong(world: World, names: tuple[str, ...], code: str) -> None:
    assert look(world, *names) is None
    with pytest.raises(ServiceError) as caught:
        ask(world, None, *names)
    assert caught.value.code == code


def test_nothing_of_another_tenant_is_looked_up(world: World) -> None:
    assert look(world, "s0", caller=Caller(uuid.uuid4(), "key:stranger")) is None
    assert look(world, "s0") is not None


def test_what_was_dropped_between_is_known_to_be_erased(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    early = looked(world, "s0", "s1")
    age(world, 91)
    assert any(row.what == "dropped_samples" for row in purge_rows(world, tmp_path, eraser=ERASER))
    with pytest.raises(Conflict) as caught:
        ask(world, early, "s0", "s1")
    assert caught.value.code == "already_erased"
    assert world.erased() == {0}


def test_sqlite_looks_in_the_turn_alone(sqlite_database: Database) -> None:
    world = World(sqlite_database)
    world.register()
    assert look(world, "s0") is None
    assert world.get(ask(world, None, "s0")).num_samples == 1
