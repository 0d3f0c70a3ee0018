"""Webhooks arrive: signed, at least once, with the same id each time, and never without end."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from standardwebhooks import Webhook

from service import ledger
from service.database import now
from service.ledger.announcing import EVENTS, OPENDSR_STATUS
from service.ledger.deliveries import BACKOFF_S, claim_deliveries, record_outcome
from service.ledger.deliveries import Outcome as Result
from service.ledger.states import MOVES
from service.ledger.webhooks import (
    try_endpoint,
)
from service.tables import DeletionRequest, RequestStatus
from service.webhooks import Courier, retry_after_s
from tests.service.couriers import deliver_due
from tests.service.ledger.world import rolled_back
from tests.service.receiver import Received, listening
from tests.service.webhooks.conftest import Town


def types(calls: list[Received]) -> list[str]:
    """Return the types of the messages in the order in which they came."""
    return [json.loads(call.body)["type"] for call in calls]


def test_every_status_of_a_request_is_told_and_has_a_word_in_opendsr() -> None:
    reached = set().union(*MOVES[RequestStatus].values())
    told = {what for table, what in EVENTS if table is DeletionRequest}
    assert reached <= told
    assert {status.value for status in RequestStatus} == set(OPENDSR_STATUS)


def test_the_life_of_a_request_is_told_and_each_message_verifies(town: Town) -> None:
    _, secret = town.endpoint()
    request_id = town.world.request("s0", subject_request_id="DSR-77")
    town.world.work()
    while deliver_due(town.courier):
        pass
    told = [Webhook(secret).verify(call.body, call.headers) for call in town.receiver.calls]
    assert sorted(message["type"] for message in told) == [
        "report.ready",
        "request.completed",
        "request.in_progress",
        "request.received",
        "version.promoted",
    ]
    (closed,) = [message for message in told if message["type"] == "request.completed"]
    assert closed["data"] == {
        "id": str(request_id),
        "status": "completed",
        "verdict": "PASS",
        "links": {
            "self": f"/v1/deletion-requests/{request_id}",
            "report": f"/v1/deletion-requests/{request_id}/report",
        },
    }


def test_no_message_names_a_sample_or_a_person(town: Town) -> None:
    town.endpoint()
    town.world.request("s0", "s5", subject_request_id="canary-person")
    town.world.cancel(town.world.request("s1"))
    town.world.work()
    while deliver_due(town.courier):
        pass
    assert len(town.receiver.calls) == 7
    for call in town.receiver.calls:
        text = call.body.decode() + json.dumps(call.headers)
        assert not any(f'"{name}"' in text for name in ("s0", "s5", "s1", "p0", "p2"))
        assert "canary-person" not in text


def test_an_endpoint_is_told_only_what_it_asked_for(town: Town) -> None:
    town.endpoint("request.completed", "report.ready")
    town.world.request("s0")
    town.world.work()
    deliver_due(town.courier)
    assert sorted(types(town.receiver.calls)) == ["report.ready", "request.completed"]


def test_an_event_that_is_rolled_back_is_never_told(town: Town) -> None:
    town.endpoint()
    with rolled_back(town.database) as session:
        order = ledger.RequestOrder(model_id=town.world.model_id, sample_ids=["s0"])
        ledger.open_request(session, town.world.caller, order)
    assert deliver_due(town.courier) == 0
    assert town.receiver.calls == []


def test_a_failed_call_is_made_again_with_the_same_id_and_body(town: Town) -> None:
    key, secret = town.endpoint("request.received")
    town.receiver.statuses = [500, 302, 200]
    town.world.request("s0")
    for _ in range(3):
        deliver_due(town.courier)
        assert deliver_due(town.courier) == 0  # it waits
        town.wait()
    first, second, third = town.receiver.calls
    assert first.headers["webhook-id"] == third.headers["webhook-id"]
    assert first.body == second.body == third.body
    Webhook(secret).verify(third.body, third.headers)
    ((delivery, attempts),) = town.told(key)
    assert delivery.delivered_at is not None
    assert [attempt.status_code for attempt in attempts] == [500, 302, 200]


def test_waiting_times_grow_with_jitter_and_end_after_about_a_day(sqlite_town: Town) -> None:
    town = sqlite_town
    key, _ = town.endpoint("request.received")
    town.receiver.statuses = [500]
    town.world.request("s0")
    waited = 0.0
    for expected in BACKOFF_S:
        deliver_due(town.courier)
        with town.database.read() as session:
            moment = now(session)
        ((delivery, _),) = town.told(key)
        wait = (delivery.next_attempt_at - moment).total_seconds()
        assert 0.8 * expected - 2 < wait < 1.2 * expected + 2
        waited += expected
        town.wait()
    assert delivery.given_up_at is None
    deliver_due(town.courier)
    ((delivery, attempts),) = town.told(key)
    assert delivery.given_up_at is not None
    assert len(attempts) == len(BACKOFF_S) + 1
    assert 22 * 3600 < waited < 26 * 3600
    town.wait()
    assert deliver_due(town.courier) == 0


def test_a_receiver_may_ask_for_more_time(sqlite_town: Town) -> None:
    town = sqlite_town
    key, _ = town.endpoint("request.received")
    town.receiver.statuses, town.receiver.answer_headers = [503], {"Retry-After": "3000"}
    town.world.request("s0")
    deliver_due(town.courier)
    ((delivery, _),) = town.told(key)
    assert delivery.next_attempt_at - delivery.created_at > timedelta(seconds=2900)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 120.0),
        ("Wed, 31 Dec 1969 23:00:00 GMT", 0.0),
        *(("soon", 0.0), ("-5", 0.0), ("", 0.0), ("9" * 40, 0.0), ("²", 0.0)),
    ],
)
def test_a_retry_after_is_read_or_ignored(text: str, seconds: float) -> None:
    assert retry_after_s(text, clock=0.0) == seconds


def test_a_sender_that_dies_between_call_and_record_is_followed_by_another(town: Town) -> None:
    key, _ = town.endpoint("request.received")
    town.world.request("s0")
    with town.database.write() as session:
        (parcel,) = claim_deliveries(session, 10, lease_s=60)
    town.courier._call(parcel)  # the message arrived, and here the sender is killed
    assert deliver_due(town.courier) == 0  # not due: the first call might still be under way
    town.wait()
    assert deliver_due(town.courier) == 1
    first, second = town.receiver.calls
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    ((delivery, attempts),) = town.told(key)
    assert delivery.delivered_at is not None
    assert [(made.status_code, made.error) for made in attempts] == [(None, None), (200, None)]


def test_an_outcome_of_a_lost_claim_decides_nothing(town: Town) -> None:
    key, _ = town.endpoint("request.received")
    town.world.request("s0")
    with town.database.write() as session:
        (early,) = claim_deliveries(session, 10, lease_s=0)
    with town.database.write() as session:
        (late,) = claim_deliveries(session, 10, lease_s=60)
    with town.database.write() as session:
        record_outcome(session, late, Result(5, status_code=200))
    with town.database.write() as session:
        record_outcome(session, early, Result(9, error="timed_out"))
    ((delivery, attempts),) = town.told(key)
    assert delivery.delivered_at is not None
    assert [made.error for made in attempts] == ["timed_out", None]
    assert town.row(key).failing_since is None


def test_two_senders_at_once_take_each_message_once(town: Town) -> None:
    for path in ("a", "b", "c"):
        town.endpoint("request.received", url=f"{town.receiver.url}/{path}")
    town.world.request("s0")
    town.world.request("s1")
    with ThreadPoolExecutor(2) as pool:
        couriers = [Courier(town.settings, town.database) for _ in range(2)]
        counts = list(pool.map(deliver_due, couriers))
    while deliver_due(town.courier):
        counts.append(0)
    assert len(town.receiver.calls) == 6
    assert len({call.headers["webhook-id"] for call in town.receiver.calls}) == 6


def test_a_slow_receiver_holds_up_nobody_else(town: Town) -> None:
    with listening() as slow:
        slow.answer, slow.drip_s = b"x" * 1000, 0.05
        for _ in range(8):
            town.endpoint("request.received", url=slow.url)
        key, _ = town.endpoint("request.received")
        stop = threading.Event()
        runner = threading.Thread(target=town.courier.run, args=(stop,))
        runner.start()
        try:
            for sample in ("s0", "s1", "s2"):
                town.world.request(sample)
            _wait_until(lambda: len(town.receiver.calls) == 3)
        finally:
            stop.set()
            runner.join()
        assert all(delivery.delivered_at is not None for delivery, _ in town.told(key))


def test_at_most_a_few_calls_go_to_one_receiver_at_once(town: Town) -> None:
    key, _ = town.endpoint()
    with town.database.write() as session:
        for _ in range(9):
            try_endpoint(session, town.world.caller, key)
    with town.database.write() as session:
        assert len(claim_deliveries(session, 16, 60)) == 4
    with town.database.write() as session:
        assert claim_deliveries(session, 16, 60, busy=[key]) == []
    with town.database.write() as session:
        assert len(claim_deliveries(session, 16, 60)) == 4


def test_a_test_message_arrives_whatever_the_endpoint_asked_for(town: Town) -> None:
    key, secret = town.endpoint("request.failed")
    with town.database.write() as session:
        try_endpoint(session, town.world.caller, key)
    deliver_due(town.courier)
    (call,) = town.receiver.calls
    assert Webhook(secret).verify(call.body, call.headers)["type"] == "webhook.test"


def _wait_until(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
