"""A run that no approximate rung can end, with a real worker, up to the last rung."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from service import ledger, policies
from service.commitment import digest_of
from service.ledger import RequestOrder
from service.policies import load_policy
from service.tables import DeletionRequest, Job, JobKind, JobStatus, ModelVersion, Report, Run
from tests.worker.installation import CLASSES, EPOCHS, TRAIN, Installation, until
from tests.worker.test_stacks import worker


@pytest.fixture
def unpassable(monkeypatch: pytest.MonkeyPatch) -> str:
    """A policy whose bound on λ is so careful that no candidate can keep its limit."""
    plain = load_policy("first-look").document
    influence = {**plain["influence"], "limit": 0.001, "confidence": 1 - 1e-9}
    document = {**plain, "name": "unpassable", "version": 1, "influence": influence}
    policy = replace(
        load_policy("first-look"),
        name="unpassable",
        version=1,
        document=document,
        digest=digest_of(document),
    )
    known = (*policies._all_policies(), policy)
    monkeypatch.setattr(policies, "_all_policies", lambda: known)
    return "unpassable"


def ended_request(stack: Installation, model_id: UUID, policy: str) -> UUID:
    """Ask for a whole class to be forgotten and return once the request has ended."""
    whole_class = [f"id-{number}" for number in range(0, TRAIN, CLASSES)]
    order = RequestOrder(model_id=model_id, sample_ids=whole_class, policy=policy)
    check = stack.job_id(JobKind.CHECK)

    def ended() -> bool:
        with stack.database.read() as session:
            return session.get_one(DeletionRequest, request_id).closed_at is not None

    with worker(stack.settings), worker(stack.settings):
        # Only this process knows the policy, so the run has to be planned here.
        until(lambda: stack.job(check).status == JobStatus.COMPLETED)
        with stack.database.write() as session:
            request_id = ledger.open_request(session, stack.caller, order).id
        until(ended)
    return request_id


@pytest.mark.slow
def test_a_policy_that_no_approximate_rung_can_pass_ends_retrained(
    stack: Installation, trained: Path, unpassable: str
) -> None:
    request_id = ended_request(stack, stack.model(trained, EPOCHS), unpassable)
    with stack.database.read() as session:
        request = session.get_one(DeletionRequest, request_id)
        run = session.get_one(Run, request.run_id)
        versions = session.scalars(select(ModelVersion).order_by(ModelVersion.number)).all()
        jobs = session.scalars(select(Job).where(Job.run_id == run.id)).all()
        report = session.scalars(select(Report)).one().statement["predicate"]
    ladder = ["muda", "distilled_recovery", "retrain"]
    assert (request.status, request.verdict) == ("completed", "RETRAINED"), request.reason
    tried = [(entry["rung"], entry["method"]) for entry in report["tries"]]
    assert tried == list(enumerate(ladder))
    assert all(entry["verdict"] in ("FAIL", "INCONCLUSIVE") for entry in report["tries"][:2])
    assert report["verdict"] == "RETRAINED"
    assert report["method"]["class"] == "exact_retrain"
    assert (report["lineage"]["start"], report["lineage"]["passed_over"]) == (
        {"rung": 0, "reason": None},
        [],
    )
    states = [(version.number, str(version.state)) for version in versions]
    assert states == [(1, "superseded"), (2, "rejected"), (3, "rejected"), (4, "current")]
    assert [version.method["name"] for version in versions[1:] if version.method] == ladder
    assert request.result_version_id == versions[-1].id
    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    kinds = Counter(str(job.kind) for job in jobs)
    assert (kinds["unlearn"], kinds["audit"], kinds["check"]) == (3, 3, 0)
    assert kinds["reference"] == 4, "the rungs share the references of their R"
