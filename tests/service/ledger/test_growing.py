"""Data sets grow by revisions; what models learned stays fixed, what was erased stays out."""

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.bitmaps import unpack
from service.database import Database
from service.errors import Conflict, NotFound, ServiceError, Unprocessable
from service.ledger import Caller, SampleRow, erased_ordinals, fingerprint, growing
from service.ledger.artifacts import named_artifacts
from service.ledger.orders import GrowthDraft
from service.ledger.samples import erased_for, trained_on, training_set
from service.tables import Dataset, DatasetRevision, Model, Run, Sample
from tests.conftest import Fresh
from tests.service.ledger.answers import digest
from tests.service.ledger.groups import add_model, ask_all, group
from tests.service.ledger.world import World


def new_rows(*names: str, split: Any = "train", label: int = 0) -> list[SampleRow]:  # noqa: ANN401 - a split
    """Return samples that a data set can grow by."""
    return [SampleRow(name, label, split, f"{name}.png", digest(name)) for name in names]


def grow(world: World, rows: list[SampleRow]) -> DatasetRevision:
    """Add samples and return the revision."""
    draft = GrowthDraft(manifest_uri=world.key("more"), format="csv", rows=rows)
    with world.database.write() as session:
        return growing.append_samples(session, world.caller, world.dataset_id, draft)


@pytest.fixture
def world(sqlite_database: Database) -> World:
    """Return a company on SQLite; one test below plays on both databases."""
    return _company(sqlite_database)


def _company(database: Database) -> World:
    world = World(database)
    world.register()
    return world


def test_a_revision_adds_and_leaves_the_one_before_as_it_was(database: Database) -> None:
    world = _company(database)
    first = world.all(Dataset)[0]
    made = grow(world, [*new_rows("n0", "n1"), *new_rows("n2", split="holdout")])
    assert (made.number, made.num_train, made.num_holdout) == (2, 14, 5)
    assert made.fingerprint == growing.grown_fingerprint(
        first.fingerprint, fingerprint(new_rows("n0", "n1", "n2"))
    )
    with world.database.read() as session:
        before = growing.get_revision(session, world.caller, world.dataset_id, 1)
        assert before.fingerprint == first.fingerprint != made.fingerprint
        assert before.train_ordinals == first.train_ordinals
        assert set(unpack(made.train_ordinals) - unpack(before.train_ordinals)) == {16, 17}
        assert session.get_one(Sample, (world.dataset_id, 18)).sample_id == "n2"
        assert world.key("more") in named_artifacts(session)
        page = growing.list_revisions(session, world.caller, world.dataset_id, limit=1)
        rest = growing.list_revisions(session, world.caller, world.dataset_id, page.next_cursor)
        assert [row.number for row in [*page.items, *rest.items]] == [1, 2]


def test_a_model_keeps_its_revision_and_a_later_one_learns_the_new_samples(world: World) -> None:
    grow(world, [*new_rows("n0"), *new_rows("n1", split="holdout")])
    later = add_model(world, "later")
    world.request("s0")
    world.request_for(later, "s0")
    world.work()
    for run in world.all(Run):
        own = [handed.roles for handed in world.handed if handed.run_id == run.id]
        roles = {uri: role for one in own for uri, role in one.items()}
        new = {uri: role for uri, role in roles.items() if uri.startswith("n")}
        wanted = {"n0.png": "retain", "n1.png": "holdout"} if run.model_id == later else {}
        assert new == wanted
    counts = {context.model_id: context.num_train for context in world.contexts}
    assert counts == {world.model_id: 12, later: 13}


def test_the_retain_set_of_an_open_request_does_not_move(world: World) -> None:
    key = world.request("s0")
    before = world.run_of(key)
    grow(world, new_rows("n0"))
    world.work()
    assert world.run_of(key).retain_digest == before.retain_digest
    assert world.contexts[0].retain_digest == before.retain_digest
    again = world.request("s1")
    assert len(unpack(world.run_of(again).erased)) == 2


def test_what_a_model_never_learned_cannot_be_asked_of_it(world: World) -> None:
    grow(world, new_rows("n0", label=2))
    with pytest.raises(Unprocessable) as caught:
        world.request("s0", "n0")
    assert caught.value.code == "not_training_samples"
    assert caught.value.errors[0]["pointer"] == "/sample_ids/1"
    later = add_model(world, "later")
    _, members = group(world, ask_all(world, "s0", "n0"))
    sizes = {member.model_id: member.num_samples for member in members}
    assert sizes == {world.model_id: 1, later: 2}
    world.work()
    assert world.erased() == {0, 16}
    # an audit of the older model gets its own part of E alone
    world.audit("s1")
    world.work()
    audited = world.handed[-1]
    assert audited.kind == "audit"
    assert {uri for uri, role in audited.roles.items() if role == "erased"} == {"0.png"}


@pytest.mark.parametrize(
    ("rows", "code", "counts"),
    [
        (new_rows("s0"), "erased_samples", {"count": 1, "by_id": 1, "by_file": 1}),
        (
            [SampleRow("other", 0, "train", "o.png", digest("s0")), *new_rows("fine")],
            "erased_samples",
            {"count": 1, "by_id": 0, "by_file": 1},
        ),
        (
            [SampleRow("s0", 0, "holdout", "o.png", digest("new bytes"))],
            "erased_samples",
            {"count": 1, "by_id": 1, "by_file": 0},
        ),
        (new_rows("s5", "fine"), "samples_exist", {"count": 1}),
        (new_rows("h0"), "samples_exist", {"count": 1}),
        (new_rows("twice", "twice"), "repeated_samples", {}),
    ],
)
def test_what_was_erased_or_is_there_cannot_be_added(
    world: World, rows: list[SampleRow], code: str, counts: dict[str, int]
) -> None:
    world.request("s0")  # in E from the moment that it is accepted
    with pytest.raises(ServiceError) as caught:
        grow(world, rows)
    assert caught.value.code == code
    assert caught.value.extensions == counts
    assert world.all(Dataset)[0].revision == 1


def test_strangers_cannot_grow_or_read_it(world: World) -> None:
    stranger = Caller(uuid.UUID(int=1), "key:x")
    draft = GrowthDraft(manifest_uri="m", format="csv", rows=new_rows("n0"))
    with world.database.write() as session, pytest.raises(NotFound):
        growing.append_samples(session, stranger, world.dataset_id, draft)
    with world.database.read() as session, pytest.raises(NotFound):
        growing.get_revision(session, stranger, world.dataset_id, 1)


@pytest.mark.parametrize(("stated", "suspects"), [(None, 1), (True, 1), (False, 0)])
def test_a_late_model_is_flagged_unless_its_owner_says_that_it_is_clean(
    world: World, stated: bool | None, suspects: int
) -> None:
    world.request("s0")
    grow(world, new_rows("n0"))
    late = add_model(world, "late", trained_on_erased=stated, dataset_revision=1)
    row = next(row for row in world.all(Model) if row.id == late)
    assert row.dataset_revision == 1
    assert len(unpack(row.suspect) if row.suspect else ()) == suspects


@pytest.mark.parametrize("revision", [0, 2])
def test_a_model_names_a_revision_that_there_is(world: World, revision: int) -> None:
    with pytest.raises(Unprocessable) as caught:
        add_model(world, "late", dataset_revision=revision)
    assert caught.value.code == "unknown_revision"


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.one_of(st.integers(1, 3), st.sampled_from("ef")), max_size=6))
def test_every_model_trains_on_its_revision_without_what_was_erased(
    fresh_sqlite: Fresh, steps: list[Any]
) -> None:
    world = World(fresh_sqlite())
    world.register()
    learned, known, erased = {world.model_id: 12}, [f"s{i}" for i in range(12)], list[str]()
    for number, step in enumerate(steps):
        if isinstance(step, int):
            names = [f"n{number}-{i}" for i in range(step)]
            grow(world, new_rows(*names))
            known += names
            learned[add_model(world, f"m{number}")] = len(known)
        else:
            left = [name for name in known if name not in erased]
            erased.append(left[0] if step == "e" else left[-1])
            ask_all(world, erased[-1])
            world.work()
        with pytest.raises(Conflict):
            grow(world, new_rows(known[-1]))
    with world.database.read() as session:
        assert len(erased_ordinals(session, world.dataset_id)) == len(erased)
        for model_id, count in learned.items():
            model = session.get_one(Model, model_id)
            gone = sum(known.index(name) < count for name in erased)
            assert len(training_set(trained_on(session, model))) == count
            assert len(erased_for(session, model)) == gone
            assert len(unpack(model.erased)) <= gone
