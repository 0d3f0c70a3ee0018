"""Data sets, samples and models as they are registered and looked up."""

import pytest

from service import ledger
from service.database import Database
from service.errors import Conflict, Unprocessable
from service.ledger import DatasetDraft, SampleRow, fingerprint
from service.tables import Dataset
from tests.service.ledger.answers import digest
from tests.service.ledger.world import World, rows


def _draft(name: str, samples: list[SampleRow]) -> DatasetDraft:
    return DatasetDraft(
        name=name, manifest_uri="m", format="csv", root="/d", class_names=["a"], rows=samples
    )


def _register(world: World, name: str, samples: list[SampleRow]) -> Dataset:
    with world.database.write() as session:
        return ledger.register_dataset(session, world.caller, _draft(name, samples))


def test_the_fingerprint_does_not_depend_on_the_order_but_on_all_else() -> None:
    samples = rows()
    shuffled = samples[::-1]
    assert fingerprint(samples) == fingerprint(shuffled)
    for change in ({"label": 2}, {"sha256": digest("x")}, {"sample_id": "y"}):
        assert fingerprint([samples[0]._replace(**change), *samples[1:]]) != fingerprint(samples)
    assert fingerprint([samples[0]._replace(uri="z"), *samples[1:]]) == fingerprint(samples)


def test_many_samples_are_registered_in_order(world: World) -> None:
    count = 20_000
    samples = [
        SampleRow(f"id\t{i}\\n", i % 7, "holdout" if i % 10 == 0 else "train", f"{i}", digest("c"))
        for i in range(count)
    ]
    dataset = _register(world, "many", samples)
    assert (dataset.num_train, dataset.num_holdout) == (18_000, 2_000)
    with world.database.read() as session:
        page = ledger.list_samples(
            session, world.caller, dataset.id, cursor=str(count - 3), limit=10
        )
        assert [row.sample_id for row in page.items] == ["id\t19998\\n", "id\t19999\\n"]
        assert page.items[0].subject_id is None


def test_samples_are_found_by_class_and_by_person(world: World) -> None:
    with world.database.read() as session:
        first = ledger.list_samples(session, world.caller, world.dataset_id, label=1, limit=3)
        names = [row.sample_id for row in first.items]
        rest = ledger.list_samples(
            session, world.caller, world.dataset_id, label=1, cursor=first.next_cursor
        )
        names += [row.sample_id for row in rest.items]
        assert names == ["s1", "h1", "s4", "s7", "s10"]
        person = ledger.list_samples(session, world.caller, world.dataset_id, subject_id="p2")
        assert [row.sample_id for row in person.items] == ["s4", "s5"]
        counts = ledger.class_counts(session, world.caller, world.dataset_id)
    assert counts == [
        (0, "holdout", 2),
        (0, "train", 4),
        (1, "holdout", 1),
        (1, "train", 4),
        (2, "holdout", 1),
        (2, "train", 4),
    ]


def test_what_may_still_be_requested_leaves_out_what_was(world: World) -> None:
    world.request("s1")
    world.work()
    world.request("s4")
    with world.database.read() as session:
        found = ledger.find_sample_ids(
            session, world.caller, world.model_id, labels=[1], subject_ids=["p2"]
        )
    assert found == ["s5", "s7", "s10"]


def test_a_name_is_given_once(world: World) -> None:
    with pytest.raises(Conflict, match="of that name"):
        _register(world, "photos", rows())
    with pytest.raises(Conflict, match="of that name"), world.database.write() as session:
        ledger.register_model(session, world.caller, world.model_draft())


def test_a_manifest_with_a_repeated_or_without_a_training_sample_is_refused(world: World) -> None:
    with pytest.raises(Unprocessable) as repeated:
        _register(world, "x", [*rows(), rows()[0]])
    assert repeated.value.code == "repeated_samples"
    with pytest.raises(Unprocessable) as empty:
        _register(world, "x", [row for row in rows() if row.split == "holdout"])
    assert empty.value.code == "no_training_samples"


def test_a_checked_model_is_ready_and_its_first_version_current(database: Database) -> None:
    world = World(database)
    world.register(ready=False)
    with database.read() as session:
        assert ledger.current_version(session, world.caller, world.model_id) is None
    world.work()
    with database.read() as session:
        model = ledger.get_model(session, world.caller, world.model_id)
    assert (model.status, model.classifier) == ("ready", "head")
    assert world.current().number == 1
    assert world.handed[0].spec["weights_key"] == World.key("net-1")
    assert world.handed[0].roles == {}
