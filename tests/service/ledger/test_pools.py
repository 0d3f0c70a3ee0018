"""Pools: made once for a run's single samples, given to the method alone, purged with the run."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from service import ledger
from service.errors import Unprocessable
from service.ledger import Claim
from service.tables import AuditEvent, Job, JobKind, Pool
from tests.service.ledger.answers import answer, publish
from tests.service.ledger.purges import purge
from tests.service.ledger.world import Handed, World


def handed(world: World, kind: JobKind) -> list[Handed]:
    return [each for each in world.handed if each.kind == kind]


def pools(world: World) -> list[Pool]:
    return world.all(Pool)


def test_a_pool_is_made_before_the_method_and_given_to_it_alone(world: World) -> None:
    request_id = world.request("s0", pool=True)
    world.work()
    assert world.get(request_id).verdict == "PASS"
    [pool] = pools(world)
    [unlearn] = handed(world, JobKind.UNLEARN)
    assert unlearn.spec["pool_key"] == pool.predictions_uri
    kinds = [each.kind for each in world.handed]
    assert kinds.index("pool") < kinds.index("unlearn")
    assert set(handed(world, JobKind.POOL)[0].roles.values()) == {"retain", "forget", "holdout"}


def test_an_audit_is_never_told_of_a_pool(world: World) -> None:
    world.request("s0", pool=True)
    verdicts = iter(["FAIL", "PASS"])
    world.work(lambda _: next(verdicts))
    [pool] = pools(world)
    for audit in handed(world, JobKind.AUDIT):
        assert "pool" not in str(audit.spec)
        assert str(pool.predictions_uri) not in str(audit.spec)


@pytest.mark.parametrize("order", [{}, {"ladder": ("distilled_recovery", "retrain")}])
def test_no_pool_is_trained_unless_it_is_asked_for(world: World, order: dict[str, Any]) -> None:
    world.request("s0", **order)
    world.work()
    assert not pools(world)
    assert "pool_key" not in handed(world, JobKind.UNLEARN)[0].spec


def test_whole_classes_need_no_pool(world: World) -> None:
    world.request("s0", "s3", "s6", "s9", pool=True)
    world.work()
    assert not pools(world)


def test_a_class_and_a_single_sample_need_one(world: World) -> None:
    world.request("s0", "s3", "s6", "s9", "s1", pool=True)
    world.work()
    assert len(pools(world)) == 1


def test_a_rung_with_hyperparameters_is_given_a_pool_like_one_without(world: World) -> None:
    rung = {"method": "muda", "hyperparameters": {"epochs": 4}}
    request_id = world.request("s0", pool=True, ladder=(rung, "retrain"))
    world.work()
    [unlearn] = handed(world, JobKind.UNLEARN)
    [pool] = pools(world)
    assert unlearn.spec["pool_key"] == pool.predictions_uri
    assert unlearn.spec["hyperparameters"] == {"epochs": 4}
    assert world.get(request_id).verdict == "PASS"


def test_rungs_that_cannot_use_a_pool_are_not_given_it(world: World) -> None:
    world.request("s0", pool=True)
    verdicts = iter(["FAIL", "PASS"])
    world.work(lambda _: next(verdicts))
    first, second = handed(world, JobKind.UNLEARN)
    assert (first.spec["method"], second.spec["method"]) == ("muda", "distilled_recovery")
    assert "pool_key" in first.spec
    assert "pool_key" not in second.spec
    assert len(handed(world, JobKind.POOL)) == 1
    assert world.contexts[-1].pool is not None
    assert not world.contexts[-1].pool.supplied_targets


@pytest.mark.parametrize(
    "order",
    [{"audit": "none"}, {"audit": "qualified"}, {"ladder": ("distilled_recovery", "retrain")}],
)
def test_a_pool_that_nothing_would_use_is_refused(world: World, order: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable) as caught:
        world.request("s0", pool=True, **order)
    assert caught.value.code == "pool_not_usable"
    assert caught.value.errors == [{"pointer": "/pool", "detail": caught.value.detail}]


def test_requests_that_want_a_pool_share_no_run_with_those_that_do_not(world: World) -> None:
    world.request("s0")
    second, third = world.request("s1", pool=True), world.request("s2")
    world.work()
    assert world.run_of(second).id != world.run_of(third).id


@pytest.mark.parametrize("code", ["invalid_problem", "non_finite_loss"])
def test_a_run_goes_on_without_a_pool_that_cannot_be_made(world: World, code: str) -> None:
    request_id = world.request("s0", pool=True)
    assert world.fail(world.hold(JobKind.POOL), code=code)
    world.work()
    assert world.get(request_id).verdict == "PASS"
    assert "pool_key" not in handed(world, JobKind.UNLEARN)[0].spec
    [pool] = pools(world)
    assert (pool.state, pool.reason) == ("failed", "It broke.")
    told = world.contexts[-1].pool
    assert told is not None
    assert (told.made, told.supplied_targets, told.reason) == (None, False, "It broke.")


def test_a_pool_is_tried_again_after_a_passing_failure(world: World) -> None:
    request_id = world.request("s0", pool=True)
    assert world.fail(world.hold(JobKind.POOL), kind="transient")
    world.make_due()
    world.work()
    assert world.get(request_id).verdict == "PASS"
    assert pools(world)[0].state == "ready"
    assert "pool_key" in handed(world, JobKind.UNLEARN)[0].spec


def test_a_worker_that_lost_its_lease_changes_no_pool(world: World) -> None:
    world.request("s0", pool=True)
    late = world.hold(JobKind.POOL, owner="slow")
    world.expire(late.job_id)
    again = world.claim(late.job_id, owner="quick")
    assert again is not None
    assert not _complete(world, late)
    assert pools(world)[0].state == "training"
    assert _complete(world, again)
    assert pools(world)[0].state == "ready"


def _complete(world: World, claim: Claim) -> bool:
    with world.database.write() as session:
        run_id = session.get_one(Job, claim.job_id).run_id
        result = answer({"seed": 1, "forget_sets": {str(run_id): []}}, claim, "PASS")
        return ledger.complete(session, claim, result, publish)


def test_withdrawing_one_request_makes_a_pool_for_the_others(world: World, tmp_path: Path) -> None:
    world.request("s5")
    first, second = world.request("s0", pool=True), world.request("s1", pool=True)
    while not pools(world) or pools(world)[0].state != "ready":
        assert world.work(limit=1)
    world.cancel(first)
    world.work()
    assert world.get(second).verdict == "PASS"
    old, fresh = handed(world, JobKind.POOL)
    assert (old.roles["0.png"], old.roles["1.png"]) == ("forget", "forget")
    assert "0.png" not in fresh.roles
    given = handed(world, JobKind.UNLEARN)[-1].spec["pool_key"]
    assert given == pools(world)[1].predictions_uri
    assert set(purge(world, tmp_path)) >= {row.predictions_uri for row in pools(world)}
    assert {row.state for row in pools(world)} == {"purged"}


def test_a_cancelled_run_stops_its_pool(world: World, tmp_path: Path) -> None:
    request_id = world.request("s0", pool=True)
    claim = world.hold(JobKind.POOL)
    world.cancel(request_id)
    with world.database.write() as session:
        assert ledger.renew(session, claim, 60) == "cancel"
    assert not _complete(world, claim)
    assert pools(world)[0].state == "failed"
    assert purge(world, tmp_path) == []


def test_predictions_go_when_the_last_request_of_the_run_has_closed(
    world: World, tmp_path: Path
) -> None:
    world.request("s0", pool=True)
    world.hold(JobKind.AUDIT)
    assert purge(world, tmp_path) == []
    [claimed] = [job for job in world.all(Job) if job.kind == JobKind.AUDIT]
    claim = Claim(claimed.id, "audit", claimed.attempt)
    assert world.finish(claim)
    [pool] = pools(world)
    key, triage = pool.predictions_uri, pool.triage
    assert triage is not None
    assert purge(world, tmp_path) == [key]
    [pool] = pools(world)
    assert (pool.state, pool.triage) == ("purged", None)
    assert purge(world, tmp_path) == []
    with world.database.read() as session:
        actions = session.scalars(select(AuditEvent.action).order_by(AuditEvent.seq)).all()
    assert [name for name in actions if name.startswith("pool.")] == ["pool.ready", "pool.purged"]


def test_the_report_says_where_the_predictions_are_and_what_they_tell(world: World) -> None:
    request_id = world.request("s0", pool=True)
    world.work()
    [context] = world.contexts
    [copy] = [copy for copy in context.residual_copies if copy.what == "pool"]
    assert copy.contains
    assert copy.until is not None
    assert copy.where == pools(world)[0].predictions_uri
    assert context.pool is not None
    assert context.pool.supplied_targets
    assert context.pool.made is not None
    assert context.pool.made["seconds"] == 9.0
    triage = pools(world)[0].triage
    assert triage is not None
    assert context.pool.triage == triage[str(request_id)]


def test_what_was_found_by_request_stays_out_of_the_jobs_results(world: World) -> None:
    request_id = world.request("s0", pool=True)
    world.work()
    for job in world.all(Job):
        assert str(request_id) not in str(job.result)


def test_a_persons_samples_and_equal_files_reach_the_worker_as_one_group(world: World) -> None:
    world.request("s0", pool=True)
    world.work()
    groups = handed(world, JobKind.POOL)[0].groups
    for first in range(0, 12, 2):  # one person for two
        assert groups[f"{first}.png"] == groups[f"{first + 1}.png"]
    assert len({groups[f"{i}.png"] for i in range(12)}) == 6
    assert groups["h0.png"] is None
    for each in world.handed:
        assert "p0" not in str(each.spec)
        if each.kind != "pool":
            assert set(each.groups.values()) <= {None}
