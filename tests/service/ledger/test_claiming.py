"""Claims: each job goes to exactly one worker, the earliest deadline first, by one clock."""

import itertools
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from service import ledger
from service.config import Settings
from service.database import Database, Limits
from service.tables import AuditEvent, DeletionRequest, Job, JobKind, JobStatus, Qualification
from tests.service.ledger.answers import in_threads
from tests.service.ledger.world import World

CLAIMERS = 16


def models(world: World, count: int) -> None:
    """Register models, whose checks are jobs that wait for nothing."""
    with world.database.write() as session:
        for number in range(count):
            ledger.register_model(session, world.caller, world.model_draft(name=f"m{number}"))


def urgent(world: World) -> list[uuid.UUID]:
    with world.database.read() as session:
        return ledger.urgent_jobs(session)


def test_of_sixteen_workers_at_once_each_job_goes_to_exactly_one(world: World) -> None:
    models(world, 24)
    numbers = itertools.count()

    def work() -> list[uuid.UUID]:
        owner, taken = f"w{next(numbers)}", []
        while jobs := urgent(world):
            claims = (world.claim(job_id, owner) for job_id in jobs)
            taken += [claim.job_id for claim in claims if claim is not None][:1]
        return taken

    taken = [job for part in in_threads(CLAIMERS, work) for job in part]  # type: ignore[attr-defined]
    jobs = [job for job in world.all(Job) if job.status == JobStatus.RUNNING]
    assert len(jobs) == 24
    assert {job.attempt for job in jobs} == {1}
    assert len(taken) == len(set(taken))
    assert set(taken) <= {job.id for job in jobs}


def test_of_sixteen_workers_exactly_one_takes_over_a_silent_job(world: World) -> None:
    world.request("s0")
    silent = world.hold(JobKind.UNLEARN)
    world.expire(silent.job_id)
    claims = in_threads(CLAIMERS, lambda: world.claim(silent.job_id))
    assert [claim.attempt for claim in claims if claim is not None] == [2]  # type: ignore[attr-defined]


def test_the_earliest_deadline_is_claimed_first(world: World) -> None:
    models(world, 1)
    with world.database.write() as session:
        other = ledger.register_model(session, world.caller, world.model_draft(name="other")).id
    world.work()
    first, second = world.request("s0", audit="none"), world.request_for(other, "s1", audit="none")
    jobs = {row.run_id: row.id for row in world.all(Job) if row.kind == JobKind.UNLEARN}
    mine, others = (jobs[world.run_of(key).id] for key in (first, second))
    assert urgent(world) == [mine, others]
    with world.database.write() as session:
        sooner = datetime.now(UTC) + timedelta(days=1)
        session.execute(
            update(DeletionRequest).where(DeletionRequest.id == second).values(due_at=sooner)
        )
    assert urgent(world) == [others, mine]


def test_checks_go_first_and_trials_rank_as_if_due_in_a_month(world: World) -> None:
    world.request("s0", audit="none")
    world.qualify()
    models(world, 1)
    kinds = {row.id: row.kind for row in world.all(Job)}
    assert [kinds[key] for key in urgent(world)] == ["check", "unlearn", "trial", "trial"]
    with world.database.write() as session:
        month_ago = datetime.now(UTC) - timedelta(days=31)
        trials = update(Job).where(Job.kind == JobKind.TRIAL)
        session.execute(trials.values(created_at=month_ago))
    assert [kinds[key] for key in urgent(world)] == ["check", "trial", "trial", "unlearn"]
    assert len(world.all(Qualification)) == 1


def test_a_job_that_backs_off_is_not_offered_before_it_is_due(world: World) -> None:
    world.request("s0", audit="none")
    claim = world.hold(JobKind.UNLEARN)
    assert world.fail(claim, "transient")
    assert urgent(world) == []
    world.make_due()
    assert urgent(world) == [claim.job_id]


def test_the_back_off_doubles_from_what_the_settings_say(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.database, "limits", Limits(max_failures=100, back_off_s=2))
    world.request("s0", audit="none")
    waits = []
    for _ in range(9):
        claim = world.hold(JobKind.UNLEARN)
        assert world.fail(claim, "transient")
        with world.database.read() as session:
            job = ledger.get_job(session, world.caller, claim.job_id)
            assert job.not_before is not None
            waits.append(round((job.not_before - world.database.now(session)).total_seconds()))
        world.make_due()
    assert waits == [2, 4, 8, 16, 32, 64, 128, 128, 128]


def test_the_log_names_who_completed_a_job_and_on_which_attempt(world: World) -> None:
    world.request("s0", audit="none")
    lost = world.hold(JobKind.UNLEARN, "first")
    world.expire(lost.job_id)
    claim = world.claim(lost.job_id, "second")
    assert claim is not None
    assert world.finish(claim)
    events = [event for event in _events(world) if event.resource == f"jobs/{claim.job_id}"]
    done = events[-1]
    assert (done.action, done.actor, done.payload["attempt"]) == ("job.completed", "second", 2)


def _events(world: World) -> list[AuditEvent]:
    with world.database.read() as session:
        return session.query(AuditEvent).order_by(AuditEvent.seq).all()


@pytest.mark.parametrize("years", [-10, 10])
def test_a_workers_wall_clock_may_step_for_leases_follow_the_databases(
    world: World, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    shifted = time.time() + years * 365 * 86_400
    world.request("s0", audit="none")
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: shifted)
        claim = world.hold(JobKind.UNLEARN, "w")
        with world.database.write() as session:
            assert ledger.renew(session, claim, 60) == "ok"
        with world.database.write() as session:
            assert ledger.sweep(session, Settings()).requeued == 0
    with world.database.read() as session:
        job = ledger.get_job(session, world.caller, claim.job_id)
        assert job.lease_expires_at is not None
        left = job.lease_expires_at - world.database.now(session)
    assert 50 < left.total_seconds() <= 60


def _stages(world: World) -> list[JobKind | None]:
    """Return where a request with a full audit can be: not begun, or with a job of some kind."""
    return [None, JobKind.REFERENCE, JobKind.UNLEARN, JobKind.AUDIT]


@pytest.mark.parametrize("stage", range(4))
def test_a_request_can_be_cancelled_at_every_stage(world: World, stage: int) -> None:
    request_id = world.request("s0")
    kind = _stages(world)[stage]
    claim = None if kind is None else world.hold(kind)
    world.cancel(request_id)
    assert world.get(request_id).status == "cancelled"
    if claim is not None:
        with world.database.write() as session:
            assert ledger.renew(session, claim, 60) == "cancel"
        assert not world.finish_late(claim)
    assert world.work() == 0
    assert not any(job.status in ("waiting", "queued", "running") for job in world.all(Job))
    again = world.request("s0")
    world.work()
    assert world.get(again).verdict == "PASS"


def test_a_claimer_that_waits_for_its_turn_sees_what_was_decided_meanwhile(
    postgres_database: Database,
) -> None:
    world = World(postgres_database)
    world.register()
    request_id = world.request("s0", audit="none")
    (job_id,) = urgent(world)
    claims: list[object] = []
    with postgres_database.write() as session:
        ledger.cancel_request(session, world.caller, request_id)
        thread = threading.Thread(target=lambda: claims.append(world.claim(job_id)))
        thread.start()
        time.sleep(0.1)
        assert claims == []
    thread.join()
    assert claims == [None]
