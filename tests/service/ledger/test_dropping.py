"""Rows of erased samples go when nothing that learnt them is left, and they can't come back."""

from pathlib import Path

import pytest
from sqlalchemy import select

from service import ledger
from service.bitmaps import unpack
from service.erased import Eraser
from service.errors import Conflict, ServiceError, Unprocessable
from service.keys import ensure_tenant
from service.ledger import Caller, DatasetDraft, SampleRow
from service.tables import ErasedHash, JobKind, Sample, Tombstones
from tests.service.ledger.purges import ERASER, purge_rows
from tests.service.ledger.test_purging import age, events
from tests.service.ledger.world import World, rows


def drop(world: World, home: Path) -> int:
    """Purge what is due and return how many rows of samples went."""
    found = purge_rows(world, home, eraser=ERASER)
    return sum(row.size or 0 for row in found if row.what == "dropped_samples")


def kept(world: World) -> set[str]:
    with world.database.read() as session:
        return set(session.scalars(select(Sample.sample_id)))


def draft(samples: list[SampleRow], root: str = "/data") -> DatasetDraft:
    return DatasetDraft(
        name="again",
        manifest_uri="m.csv",
        format="csv",
        root=root,
        class_names=["a", "b", "c"],
        rows=samples,
    )


def register(
    world: World, samples: list[SampleRow], *, root: str = "/data", eraser: Eraser | None = ERASER
) -> None:
    """Try a registration and leave no trace of it."""
    with world.database.write() as session:
        ledger.register_dataset(session, world.caller, draft(samples, root), eraser)
        session.rollback()


def refusal(world: World, samples: list[SampleRow], **how: str) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        register(world, samples, **how)  # type: ignore[arg-type] # a root
    return refused.value


def test_rows_go_when_link_and_old_weights_are_gone(world: World, tmp_path: Path) -> None:
    world.request("s0", "s5")
    world.work()
    before = kept(world)
    age(world, 31)
    assert drop(world, tmp_path) == 0  # the link is still there
    age(world, 91)
    assert drop(world, tmp_path) == 2
    assert before - kept(world) == {"s0", "s5"}
    assert world.erased() == {0, 9}
    with world.database.read() as session:
        [row] = session.scalars(select(Tombstones))
        assert row.dropped is not None
        assert set(unpack(row.dropped)) == {0, 9}
    [event] = events(world, "dataset.samples_dropped")
    assert event.payload == {"samples": 2, "erased": 2, "dropped": 2}
    assert drop(world, tmp_path) == 0


def test_rows_stay_while_weights_that_learnt_them_are_kept(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    age(world, 91)
    settings = {"keep_superseded_days": 365}
    assert not [
        row
        for row in purge_rows(world, tmp_path, eraser=ERASER, **settings)
        if row.what == "dropped_samples"
    ]
    assert "s0" in kept(world)
    assert drop(world, tmp_path) == 1


def test_rows_stay_while_another_model_of_the_data_set_has_learnt_them(
    world: World, tmp_path: Path
) -> None:
    with world.database.write() as session:
        second = ledger.register_model(session, world.caller, world.model_draft(name="other")).id
    world.work()
    world.request("s0")
    world.work()
    age(world, 91)
    assert drop(world, tmp_path) == 0
    world.request_for(second, "s0")
    world.work()
    age(world, 91)
    assert drop(world, tmp_path) == 1


def test_a_withdrawn_requests_samples_are_still_in_the_model_and_stay(
    world: World, tmp_path: Path
) -> None:
    world.cancel(world.request("s0"))
    age(world, 91)
    purge_rows(world, tmp_path, eraser=ERASER)
    assert "s0" in kept(world)
    assert world.erased() == {0}


def test_nothing_is_dropped_under_a_running_audit(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    age(world, 91)
    world.request("s1")
    claim = world.hold(JobKind.AUDIT)
    assert drop(world, tmp_path) == 0
    world.finish(claim)
    assert drop(world, tmp_path) == 1


def test_later_requests_are_audited_without_the_dropped_rows(world: World, tmp_path: Path) -> None:
    world.request("s0", "s1")
    world.work()
    age(world, 91)
    assert drop(world, tmp_path) == 2
    request_id = world.request("s2", "s3")
    world.work()
    assert world.get(request_id).verdict == "PASS"
    for handed in world.handed[-3:]:
        assert {"0.png", "1.png"}.isdisjoint(handed.roles)
    audit = next(handed for handed in reversed(world.handed) if handed.kind == "audit")
    uris = list(audit.roles)
    [forget] = audit.spec["forget_sets"].values()
    assert [uris[place] for place in forget] == ["2.png", "3.png"]
    assert [uris[place] for place in audit.spec["erased"]] == ["2.png", "3.png"]


@pytest.mark.parametrize("dropped", [False, True])
def test_erased_samples_cannot_be_registered_again(
    world: World, tmp_path: Path, dropped: bool
) -> None:
    world.request("s0", "s5")
    world.work()
    if dropped:
        age(world, 91)
        assert drop(world, tmp_path) == 2
    refused = refusal(world, rows())
    assert (refused.code, refused.extensions["count"]) == ("erased_samples", 2)
    assert [entry["pointer"] for entry in refused.errors] == [
        "/rows/0/sample_id",
        "/rows/9/sample_id",
    ]
    clean = [row for row in rows() if row.sample_id not in {"s0", "s5"}]
    register(world, clean)
    renamed = [*clean, rows()[0]._replace(sample_id="new", uri="new.png")]
    assert refusal(world, renamed, root="/elsewhere").extensions["count"] == 1
    encoded_again = [*clean, rows()[0]._replace(sha256="ab" * 32)]
    assert refusal(world, encoded_again).extensions["count"] == 1
    register(world, encoded_again, root="/elsewhere")  # an id means something below its root only


@pytest.mark.parametrize("dropped", [False, True])
def test_a_file_that_is_still_to_be_trained_on_does_not_mark_its_erased_twin(
    world: World, tmp_path: Path, dropped: bool
) -> None:
    twin = rows()[0]._replace(sample_id="twin", uri="twin.png")
    other = World(world.database)
    with world.database.write() as session:
        tenant = ensure_tenant(session, "other").id
    other.caller = Caller(tenant, "key:other")
    other.register(samples=[*rows(), twin])
    other.request("s0")
    other.work()
    if dropped:
        age(other, 91)
        assert drop(other, tmp_path) == 1
    register(other, [*rows()[1:], twin])
    assert refusal(other, [*rows(), twin]).extensions["count"] == 1


def test_another_tenant_may_have_the_same_samples(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    age(world, 91)
    drop(world, tmp_path)
    with world.database.write() as session:
        other = Caller(ensure_tenant(session, "other").id, "key:other")
        ledger.register_dataset(session, other, draft(rows()), ERASER)


def test_the_hashes_say_nothing_without_the_key_and_another_key_is_noticed(
    world: World, tmp_path: Path
) -> None:
    world.request("s0")
    world.work()
    age(world, 91)
    drop(world, tmp_path)
    with world.database.read() as session:
        hashes = set(session.scalars(select(ErasedHash.hash)))
    sample, other = rows()[0], Eraser(b"q" * 32)
    marks = ERASER.marks(world.caller.tenant_id, "/data", sample.sample_id, sample.sha256)
    assert hashes == set(marks)
    assert hashes.isdisjoint(
        other.marks(world.caller.tenant_id, "/data", sample.sample_id, sample.sha256)
    )
    for eraser in (other, None):
        with pytest.raises(Conflict) as refused:
            register(world, rows()[1:], eraser=eraser)
        assert refused.value.code == "pepper_changed"


def test_a_dropped_sample_can_be_neither_requested_nor_found(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    age(world, 91)
    drop(world, tmp_path)
    with pytest.raises(Unprocessable) as refused:
        world.request("s0")
    assert refused.value.code == "unknown_samples"
    with world.database.read() as session:
        page = ledger.list_samples(session, world.caller, world.dataset_id)
    assert "s0" not in {row.sample_id for row in page.items}
