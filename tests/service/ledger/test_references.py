"""References: shared while they fit, purged when stale or no longer needed."""

from pathlib import Path

from service import ledger
from service.ledger import cache_key
from service.tables import Audit, JobKind, ModelVersion, Reference
from tests.service.ledger.answers import answer, publish
from tests.service.ledger.purges import purge
from tests.service.ledger.world import LOOKS, World


def test_an_audit_with_the_same_retain_set_uses_the_runs_references(world: World) -> None:
    world.request("s0")
    world.hold(JobKind.AUDIT)
    world.audit("s0")
    world.work()
    [audit] = world.all(Audit)
    assert audit.verdict == "PASS"
    assert len(world.references()) == LOOKS[0]


def test_a_failed_shared_job_fails_all_that_need_it_and_leaves_nothing_stuck(
    world: World,
) -> None:
    request_id = world.request("s0")
    world.audit("s0")
    assert world.fail(world.hold(JobKind.REFERENCE))
    assert world.get(request_id).status == "failed"
    assert world.all(Audit)[0].status == "failed"
    assert {row.state for row in world.references()} == {"failed"}


def test_a_cancelled_run_leaves_the_references_that_an_audit_needs(world: World) -> None:
    request_id = world.request("s0")
    world.audit("s0")
    world.cancel(request_id)
    world.work()
    assert world.all(Audit)[0].verdict == "PASS"
    assert {row.state for row in world.references()} == {"ready"}


def test_references_outlive_their_run_by_the_grace_time(world: World, tmp_path: Path) -> None:
    world.request("s0")
    world.work()
    assert purge(world, tmp_path) == []
    assert all(row.unneeded_since is not None for row in world.references())
    keys = {row.weights_uri for row in world.references()}
    assert set(purge(world, tmp_path, reference_grace_s=0)) == keys
    assert {row.state for row in world.references()} == {"purged"}
    assert all(row.purged_at is not None for row in world.references())


def test_stale_references_go_at_once_but_never_under_an_open_run(
    world: World, tmp_path: Path
) -> None:
    world.request("s0")
    claim = world.hold(JobKind.AUDIT)
    world.request("s1")
    assert purge(world, tmp_path, reference_grace_s=0) == []
    world.finish(claim)
    old = {row.weights_uri for row in world.references() if row.state == "ready"}
    assert set(purge(world, tmp_path)) == old
    world.work()
    assert world.current().number == 3


def test_rejected_candidates_are_purged_once_their_run_is_over(
    world: World, tmp_path: Path
) -> None:
    world.request("s0")
    verdicts = iter(["FAIL"])
    world.work(lambda _: next(verdicts), limit=3)
    assert purge(world, tmp_path) == []
    world.work()
    [rejected] = [row for row in world.all(ModelVersion) if row.state == "rejected"]
    assert purge(world, tmp_path) == [rejected.weights_uri]
    assert world.all(ModelVersion)[1].state == "purged"


def test_caches_go_with_the_last_reference_of_their_retain_set(
    world: World, tmp_path: Path
) -> None:
    world.request("s0")
    world.work()
    row = world.references()[0]
    cache = tmp_path / "cache" / cache_key(row.model_id, row.retain_digest)
    other = tmp_path / "cache" / "matplotlib" / "fonts"
    for folder in (cache, other):
        folder.mkdir(parents=True)
        (folder / "x").write_text("x")
    purge(world, tmp_path)
    assert cache.is_dir()
    purge(world, tmp_path, reference_grace_s=0)
    assert not cache.exists()
    assert other.is_dir()


def test_a_job_trains_at_most_as_many_seeds_as_the_settings_say(world: World) -> None:
    world.request("s0", policy="standard")
    world.work("INCONCLUSIVE")
    seeds = [h.spec["seeds"] for h in world.handed if h.kind == "reference"]
    assert seeds == [[1000, 1001, 1002], [1003, 1004]]


def test_a_late_reference_job_cannot_write_over_a_newer_one(world: World) -> None:
    request_id = world.request("s0")
    late = world.hold(JobKind.REFERENCE)
    spec = {"seeds": [1000, 1001, 1002]}
    world.cancel(request_id)
    again = world.request("s0")
    with world.database.write() as session:
        assert not ledger.complete(session, late, answer(spec, late, "PASS"), publish)
    world.work()
    assert world.get(again).verdict == "PASS"
    states = sorted(str(row.state) for row in world.all(Reference))
    assert states == ["failed"] * 3 + ["ready"] * 3
