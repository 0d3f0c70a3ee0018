"""Claims, leases, fences, the outbox and the sweep: nothing is lost, nothing is done twice."""

import uuid
from collections import Counter
from dataclasses import replace

import pytest

from service import ledger
from service.config import Settings
from service.database import Database
from service.errors import Conflict
from service.tables import AuditEvent, Job, JobKind, JobStatus, ModelVersion, Run, RunState
from tests.service.ledger.answers import answer, in_threads, publish
from tests.service.ledger.world import World


def _settings(**values: object) -> Settings:
    return Settings(**{"lease_s": 30, **values})  # type: ignore[arg-type]


def _sweep(world: World, **values: object) -> ledger.SweepResult:
    with world.database.write() as session:
        return ledger.sweep(session, _settings(**values))


def _job(world: World, job_id: uuid.UUID) -> Job:
    with world.database.read() as session:
        return ledger.get_job(session, world.caller, job_id)


def test_of_eight_workers_exactly_one_claims_a_job(world: World) -> None:
    world.request("s0")
    for job_id in list(world.dispatch()):
        claims = in_threads(8, lambda job_id=job_id: world.claim(job_id))
        assert Counter(claim is not None for claim in claims) == {False: 7, True: 1}


def test_a_stolen_lease_fences_out_its_old_holder(world: World) -> None:
    world.request("s0")
    old = world.hold(JobKind.UNLEARN, "first")
    assert world.claim(old.job_id, "second") is None
    world.expire(old.job_id)
    new = world.claim(old.job_id, "second")
    assert new is not None
    assert (old.attempt, new.attempt) == (1, 2)
    before = (_job(world, old.job_id), len(world.all(ModelVersion)), _chain_length(world))
    with world.database.write() as session:
        assert ledger.renew(session, old, 60) == "lost"
        assert not ledger.release(session, old)
        assert not ledger.fail(session, old, ledger.JobError("fatal", "x", "x"))
        result = answer({"method": "muda", "seed": 1}, old, "PASS")
        assert not ledger.complete(session, old, result, publish)
        with pytest.raises(Conflict, match="no longer this worker's"):
            ledger.build_package(session, old)
    after = (_job(world, old.job_id), len(world.all(ModelVersion)), _chain_length(world))
    assert (after[0].status, after[0].lease_owner) == ("running", "second")
    assert after[0].lease_expires_at == before[0].lease_expires_at
    assert after[1:] == before[1:]
    assert world.finish(new)


def _chain_length(world: World) -> int:
    with world.database.read() as session:
        check = ledger.verify_chain(session, world.caller.tenant_id)
    assert check.ok
    return check.length


def test_renewing_extends_the_lease_and_keeps_the_progress(world: World) -> None:
    request_id = world.request("s0")
    claim = world.hold(JobKind.UNLEARN)
    before = _job(world, claim.job_id)
    with world.database.write() as session:
        progress = {"phase": "unlearn", "step": 5, "total": 10, "detail": "epoch 1"}
        assert ledger.renew(session, claim, 3600, progress) == "ok"
    after = _job(world, claim.job_id)
    assert before.lease_expires_at is not None
    assert after.lease_expires_at is not None
    assert after.lease_expires_at > before.lease_expires_at
    with world.database.read() as session:
        shown = ledger.progress_of(session, ledger.get_request(session, world.caller, request_id))
    assert (shown.phase, shown.step, shown.total, shown.detail) == ("unlearning", 5, 10, "epoch 1")
    assert 0 < shown.percent < 100


def test_a_cancelled_job_tells_its_worker_to_stop(world: World) -> None:
    request_id = world.request("s0")
    claim = world.hold(JobKind.UNLEARN)
    world.cancel(request_id)
    with world.database.write() as session:
        assert ledger.renew(session, claim, 60) == "cancel"
        assert ledger.release(session, claim)
    assert not world.finish_late(claim)
    assert _job(world, claim.job_id).status == JobStatus.CANCELLED


def test_a_released_job_is_queued_again_and_burns_no_retry(world: World) -> None:
    world.request("s0")
    claim = world.hold(JobKind.UNLEARN)
    with world.database.write() as session:
        assert ledger.release(session, claim)
    job = _job(world, claim.job_id)
    assert (job.status, job.failures, job.lease_owner) == ("queued", 0, None)
    again = world.hold(JobKind.UNLEARN)
    assert again == replace(claim, attempt=2)


def test_transient_failures_are_tried_again_with_back_off_until_the_budget_is_spent(
    world: World,
) -> None:
    request_id = world.request("s0")
    for failures in (1, 2):
        claim = world.hold(JobKind.UNLEARN)
        assert world.fail(claim, "transient", "out_of_memory")
        job = _job(world, claim.job_id)
        assert (job.status, job.failures) == ("queued", failures)
        assert world.claim(claim.job_id) is None
        world.make_due()
    assert world.fail(world.hold(JobKind.UNLEARN), "transient", "out_of_memory")
    request = world.get(request_id)
    assert (request.status, request.reason_code) == ("failed", "out_of_memory")
    assert request.reason == "The unlearning failed: It broke."


def test_a_fatal_failure_fails_the_run_and_the_next_run_begins(world: World) -> None:
    first, second = world.request("s0"), world.request("s1")
    assert world.fail(world.hold(JobKind.AUDIT))
    assert [world.get(key).status for key in (first, second)] == ["failed", "in_progress"]
    assert [str(version.state) for version in world.all(ModelVersion)] == ["current", "rejected"]
    world.work()
    assert world.get(second).verdict == "PASS"


def test_a_failed_reference_job_leaves_no_reference_stuck(world: World) -> None:
    first = world.request("s0")
    assert world.fail(world.hold(JobKind.REFERENCE))
    assert world.get(first).status == "failed"
    assert {row.state for row in world.references()} == {"failed"}
    again = world.request("s0")
    world.work()
    assert world.get(again).verdict == "PASS"


def test_a_rejected_check_rejects_the_model_and_what_waits_for_it(database: Database) -> None:
    world = World(database)
    world.register(ready=False)
    request_id = world.request("s0")
    assert world.fail(world.hold(JobKind.CHECK), code="weights_mismatch")
    request = world.get(request_id)
    assert (request.status, request.reason_code) == ("rejected", "model_rejected")
    with pytest.raises(Conflict, match="cannot be used"):
        world.request("s1")


def test_requests_that_came_before_the_check_run_after_it(database: Database) -> None:
    world = World(database)
    world.register(ready=False)
    request_id = world.request("s0")
    assert world.get(request_id).status == "pending"
    world.work()
    assert world.get(request_id).verdict == "PASS"


def test_the_sweep_puts_back_a_silent_job_and_at_last_fails_it_in_words(world: World) -> None:
    request_id = world.request("s0")
    for _ in range(2):
        claim = world.hold(JobKind.UNLEARN)
        world.expire(claim.job_id)
        assert _sweep(world).requeued == 1
        world.make_due()
    claim = world.hold(JobKind.UNLEARN)
    world.expire(claim.job_id)
    assert world.claim(claim.job_id) is None
    assert _sweep(world).failed == 1
    request = world.get(request_id)
    assert (request.status, request.reason_code) == ("failed", "worker_lost")
    assert request.reason is not None
    assert "stopped answering, 3 times in all" in request.reason
    assert not world.finish_late(claim)


def test_the_sweep_wakes_jobs_whose_message_was_lost(world: World) -> None:
    world.request("s0")
    lost = list(world.dispatch())
    world.woken.clear()
    assert _sweep(world).redispatched == 0
    assert _sweep(world, lease_s=1e-6).redispatched == len(lost)
    assert _sweep(world, lease_s=1e-6).redispatched == 0
    assert sorted(world.dispatch()) == sorted(lost)


def test_the_sweep_plans_runs_that_nobody_planned(world: World) -> None:
    first, second = world.request("s0"), world.request("s1")
    with world.database.write() as session:
        run = session.get_one(Run, world.run_of(first).id)
        run.state = RunState.FAILED
    assert _sweep(world).planned == 1
    assert world.get(second).status == "in_progress"


def test_of_two_sweeps_at_once_one_does_nothing(postgres_database: Database) -> None:
    world = World(postgres_database)
    world.register()
    world.request("s0")
    world.expire(world.hold(JobKind.UNLEARN).job_id)
    with postgres_database.write() as first:
        assert ledger.sweep(first, _settings()).requeued == 1
        assert _sweep(world) == ledger.SweepResult()
    assert _sweep(world) == ledger.SweepResult()


def test_callers_at_once_get_one_run_and_a_whole_chain(world: World) -> None:
    names = iter([f"s{i}" for i in range(6)])
    ids = in_threads(6, lambda: world.request(next(names)))
    assert len(world.all(Run)) == 1
    world.work()
    assert {world.get(key).status for key in ids} == {"completed"}  # type: ignore[arg-type]
    assert len(world.all(Run)) == 2
    assert world.erased() == set(range(3)) | {7, 8, 9}
    _chain_length(world)


def test_a_result_that_lacks_something_changes_nothing(world: World) -> None:
    world.request("s0")
    claim = world.hold(JobKind.UNLEARN)
    before = _chain_length(world)
    with pytest.raises(ValueError, match="lacks"):
        world.finish_late(claim)
    assert _chain_length(world) == before
    assert world.finish(claim)


def test_events_tell_who_did_what_and_hold_no_sample(world: World) -> None:
    world.request("s0", "s11")
    world.work()
    with world.database.read() as session:
        events = session.query(AuditEvent).order_by(AuditEvent.seq).all()
    actions = [event.action for event in events]
    for action in ("deletion-request.received", "run.planned", "job.running", "report.signed"):
        assert action in actions
    received = events[actions.index("deletion-request.received")]
    assert (received.actor, received.payload["samples"]) == ("key:test", 2)
    shown = " ".join(f"{event.payload} {event.resource}" for event in events)
    assert "s11" not in shown
