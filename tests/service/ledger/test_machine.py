"""Whatever callers and workers do, and in whatever order, the ledger's promises hold."""

import uuid

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service import ledger
from service.bitmaps import unpack
from service.config import Settings
from service.ledger import Claim
from service.ledger.graph import LIVE
from service.ledger.qualified import outdated
from service.tables import (
    Approval,
    DeletionRequest,
    Job,
    JobStatus,
    ModelVersion,
    Qualification,
    QualificationState,
    QualificationTrial,
    Reference,
    Report,
    RequestStatus,
    Run,
    RunState,
    VersionState,
)
from tests.conftest import Fresh
from tests.service.ledger.callers import Callers
from tests.service.ledger.world import Kind

VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NOTHING_TO_REMOVE")


class Ledger(Callers):
    """What callers do, workers that work, fail, vanish or come back late, and sweeps."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[Claim] = []
        self.taken: set[tuple[uuid.UUID, int]] = set()
        self.erased: set[int] = set()

    @rule()
    def claim(self) -> None:
        for job_id in list(self.world.dispatch()):
            claim = self.world.claim(job_id)
            if claim is not None:
                assert (claim.job_id, claim.attempt) not in self.taken
                self.taken.add((claim.job_id, claim.attempt))
                self.claims.append(claim)
        self.world.woken.clear()

    @precondition(lambda self: self.claims)
    @rule(verdict=st.sampled_from(VERDICTS), data=st.data())
    def finish(self, verdict: str, data: st.DataObject) -> None:
        claim = self._take(data)
        if self._holds(claim):
            assert self.world.finish(claim, verdict)
        else:
            assert not self.world.finish_late(claim)

    @precondition(lambda self: self.claims)
    @rule(kind=st.sampled_from(["fatal", "transient"]), data=st.data())
    def fail(self, kind: Kind, data: st.DataObject) -> None:
        claim = self._take(data)
        held = self._holds(claim)
        assert self.world.fail(claim, kind) == held
        self.world.make_due()

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        if self._holds(claim):
            self.world.expire(claim.job_id)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def steal(self, data: st.DataObject) -> None:
        """A lease runs out and another worker is quicker than the sweep; the old one is late."""
        old = data.draw(st.sampled_from(self.claims))
        if not self._holds(old):
            return
        self.world.expire(old.job_id)
        claim = self.world.claim(old.job_id, "thief")
        if claim is None:  # its retry budget is spent: the sweep will say so
            return
        assert claim.attempt == old.attempt + 1
        assert not self.world.finish_late(old)
        self.taken.add((claim.job_id, claim.attempt))
        self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        held = self._holds(claim)
        with self.database.write() as session:
            answer = ledger.renew(session, claim, 60, {"step": 1, "total": 2})
        assert (answer == "ok") == held
        assert answer != "cancel" or self._job(claim).status == JobStatus.CANCELLED

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A worker that was told to end gives its job back, and burns no retry."""
        claim = self._take(data)
        held, before = self._holds(claim), self._job(claim)
        with self.database.write() as session:
            written = ledger.release(session, claim)
        after = self._job(claim)
        assert after.failures == before.failures
        assert not held or (written and after.status == JobStatus.QUEUED)
        assert held or after.status == before.status

    @precondition(lambda self: self.claims)
    @rule(verdict=st.sampled_from(VERDICTS), data=st.data())
    def restart(self, verdict: str, data: st.DataObject) -> None:
        """The database goes down before the commit: what was written is gone, the claim is not."""
        claim = data.draw(st.sampled_from(self.claims))
        before = self._chain()
        if self._holds(claim):
            with pytest.raises(ConnectionError):
                self.world.finish(claim, verdict, commit=False)
        self.database.close()
        assert self._chain() == before

    @rule()
    def lose_messages(self) -> None:
        """The broker loses what it was sent; the sweep sends it again."""
        self.world.dispatch()
        self.world.woken.clear()

    @rule()
    def sweep(self) -> None:
        with self.world.database.write() as session:
            ledger.sweep(session, Settings(lease_s=1e-6))
        self.world.make_due()

    @rule(verdict=st.sampled_from(VERDICTS))
    def work(self, verdict: str) -> None:
        self.world.work(verdict, limit=6)

    @invariant()
    def erased_only_grows(self) -> None:
        now = self.world.erased()
        assert now >= self.erased
        self.erased = now

    @invariant()
    def states_agree(self) -> None:
        runs, requests = self.world.all(Run), self.world.all(DeletionRequest)
        active = [run.id for run in runs if run.state == RunState.ACTIVE]
        assert len(active) <= 1
        versions = self.world.all(ModelVersion)
        assert sum(version.state == VersionState.CURRENT for version in versions) == 1
        running = {row.run_id for row in requests if row.status == RequestStatus.IN_PROGRESS}
        assert running == set(active)
        asked = [row for row in self.world.all(Approval) if row.decision is None]
        assert {row.run_id for row in asked} <= set(active)
        candidates = {v.id for v in versions if v.state == VersionState.CANDIDATE}
        assert {row.version_id for row in asked} <= candidates
        closed = [row.id for row in requests if row.status == RequestStatus.COMPLETED]
        assert sorted(report.request_id for report in self.world.all(Report)) == sorted(closed)
        jobs = {job.id: job for job in self.world.all(Job)}
        training = [row for row in self.world.all(Reference) if row.state == "training"]
        assert all(jobs[row.job_id].status in LIVE for row in training)

    @invariant()
    def versions_form_a_chain(self) -> None:
        rows = self.world.all(ModelVersion)
        promoted = sorted((row for row in rows if row.promoted_at), key=lambda row: row.number)
        parents = [row.parent_id for row in promoted]
        assert parents == [None, *(row.id for row in promoted[:-1])]

    @invariant()
    def qualifications_agree_with_their_trials(self) -> None:
        jobs = {job.id: job for job in self.world.all(Job)}
        trials = self.world.all(QualificationTrial)
        with self.database.read() as session:
            for row in session.query(Qualification):
                own = [trial for trial in trials if trial.qualification_id == row.id]
                live = [trial for trial in own if jobs[trial.job_id].status in LIVE]
                assert bool(live) == (row.state == QualificationState.RUNNING)
                assert row.state != QualificationState.LIVE or outdated(session, row) is None

    @invariant()
    def training_never_sees_what_was_erased_before(self) -> None:
        erased = {run.id: unpack(run.erased) for run in self.world.all(Run)}
        for handed in self.world.handed:
            if handed.kind in ("reference", "unlearn") and handed.run_id is not None:
                kept = {uri for uri, role in handed.roles.items() if role == "retain"}
                gone = {f"{o if o < 3 else o - 4}.png" for o in erased[handed.run_id]}
                assert kept.isdisjoint(gone)
                assert "erased" not in handed.roles.values()
        self.world.handed.clear()

    def teardown(self) -> None:
        """Whatever happened, work that is done faithfully ends every request."""
        for claim in self.claims:
            if self._holds(claim):
                self.world.expire(claim.job_id)
        for row in self.world.all(DeletionRequest):
            if row.status == RequestStatus.ON_HOLD:
                with self.world.database.write() as session:
                    ledger.release_request(session, self.world.caller, row.id)
        for _ in range(12):
            self.sweep()
            self.world.work()
            for row in self.world.all(DeletionRequest):
                self.approve_or_reject(row.id, "approved")
        left = [r.status for r in self.world.all(DeletionRequest)]
        assert not {RequestStatus.PENDING, RequestStatus.IN_PROGRESS} & set(left)
        assert all(row.state != "running" for row in self.world.all(Qualification))
        with self.world.database.read() as session:
            assert ledger.verify_chain(session, self.world.caller.tenant_id).ok

    def _take(self, data: st.DataObject) -> Claim:
        claim = data.draw(st.sampled_from(self.claims))
        self.claims.remove(claim)
        return claim

    def _job(self, claim: Claim) -> Job:
        with self.world.database.read() as session:
            return ledger.get_job(session, self.world.caller, claim.job_id)

    def _chain(self) -> tuple[int, bool]:
        with self.world.database.read() as session:
            check = ledger.verify_chain(session, self.world.caller.tenant_id)
        return check.length, check.ok

    def _holds(self, claim: Claim) -> bool:
        job = self._job(claim)
        return job.attempt == claim.attempt and job.status == "running"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_ledger_keeps_its_promises_whatever_happens(
    request: pytest.FixtureRequest, kind: str
) -> None:
    fresh: Fresh = request.getfixturevalue(f"fresh_{kind}")

    class Fresher(Ledger):
        def __init__(self) -> None:
            type(self).database = fresh()
            super().__init__()

    run_state_machine_as_test(
        Fresher,
        settings=settings(
            max_examples=12 if kind == "sqlite" else 5,
            stateful_step_count=18,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
