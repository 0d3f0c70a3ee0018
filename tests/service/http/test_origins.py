"""The call's id and trace context are taken where they have their exact form, and kept."""

import uuid

import pytest
from starlette.testclient import TestClient

from service.broker import HEADER, wake_up
from service.origins import Origin, bound
from service.tables import DeletionRequest, Job
from tests.service.ledger.world import World

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_request_and_the_jobs_of_its_run_keep_the_calls_id(
    client: TestClient, world: World
) -> None:
    body = {"model_id": str(world.model_id), "sample_ids": ["s0"]}
    headers = {"X-Request-Id": "call-7", "traceparent": TRACE}
    answer = client.post("/v1/deletion-requests", json=body, headers=headers)
    assert answer.headers["x-request-id"] == "call-7"
    with world.database.read() as session:
        request = session.get_one(DeletionRequest, uuid.UUID(answer.json()["id"]))
        jobs = session.query(Job).filter(Job.run_id == request.run_id).all()
    assert jobs
    kept = {(request.origin, request.traceparent), *((job.origin, job.traceparent) for job in jobs)}
    assert kept == {("call-7", TRACE)}


def test_the_jobs_of_a_later_run_are_its_own_requests_not_its_planners(
    client: TestClient, world: World
) -> None:
    for call, sample in (("first", "s0"), ("second", "s1")):
        body = {"model_id": str(world.model_id), "sample_ids": [sample]}
        client.post("/v1/deletion-requests", json=body, headers={"X-Request-Id": call})
    with bound(Origin("first")):
        world.work()
    with world.database.read() as session:
        runs = {row.run_id: row.origin for row in session.query(DeletionRequest)}
        jobs = session.query(Job).filter(Job.run_id.is_not(None)).all()
    assert set(runs.values()) == {"first", "second"}
    assert all(job.origin == runs[job.run_id] for job in jobs)


@pytest.mark.parametrize("given", ["", "has space", "x" * 101, "line\nbreak", "ümlaut"])
def test_an_id_of_another_form_is_replaced(given: str) -> None:
    made = Origin.of_headers({"x-request-id": given}).request_id
    assert made
    assert made != given
    assert uuid.UUID(made)


@pytest.mark.parametrize(
    "given",
    ["", "00-0-0-01", f"ff{TRACE[2:]}", TRACE.upper(), TRACE.replace("4bf9", "0" * 4) + "x"],
)
def test_a_trace_context_of_another_form_is_none(given: str) -> None:
    assert Origin.of_headers({"traceparent": given}).traceparent is None


def test_a_message_carries_ids_in_its_headers_and_the_job_alone_in_its_body() -> None:
    sent: dict[str, object] = {}

    class Recorder:
        def send_task(self, _name: str, **options: object) -> None:
            sent.update(options)

    key, run_id = uuid.uuid4(), uuid.uuid4()
    with bound(Origin("call-7"), run_id=run_id, sample_id="secret"):
        wake_up(Recorder())(key)
    assert sent["kwargs"] == {"job_id": str(key)}
    assert sent["headers"] == {HEADER: {"request_id": "call-7", "run_id": str(run_id)}}
