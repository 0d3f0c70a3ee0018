"""The OpenDSR adapter: the specification's own fields, signed, and callbacks that verify."""

import base64
import json

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from sqlalchemy import update
from starlette.testclient import TestClient

from service.commitment import canonical_json
from service.config import Settings
from service.database import now
from service.tables import WebhookDelivery
from service.webhooks import Courier
from tests.service.couriers import deliver_due
from tests.service.http.opendsr.conftest import DOMAIN, ID, URL, check, order, refusal, signed
from tests.service.ledger.world import World
from tests.service.receiver import Receiver


def test_discovery_needs_no_key_and_names_what_is_done(anonymous: TestClient) -> None:
    assert anonymous.get("/v1/opendsr/discovery").json() == {
        "api_version": "2.0",
        "supported_identities": [
            {"identity_type": "controller_customer_id", "identity_format": "raw"}
        ],
        "supported_subject_request_types": ["erasure"],
        "processor_certificate": f"https://{DOMAIN}/v1/opendsr/certificate.pem",
    }
    pem = anonymous.get("/v1/opendsr/certificate.pem").content
    assert DOMAIN in x509.load_pem_x509_certificate(pem).subject.rfc4514_string()


def test_a_request_gets_a_signed_receipt_with_all_required_fields(
    client: TestClient, world: World
) -> None:
    sent = json.dumps(order("p0")).encode()
    headers = {"Content-Type": "application/json"}
    response = client.post(URL, content=sent, headers=headers)
    receipt = signed(client, response, 201)
    assert set(receipt) == {
        "controller_id",
        "expected_completion_time",
        "received_time",
        "encoded_request",
        "subject_request_id",
        "processor_signature",
    }
    assert receipt["controller_id"] == str(world.caller.tenant_id)
    assert base64.b64decode(receipt["encoded_request"]) == sent
    assert receipt["subject_request_id"] == ID
    pem = client.get("/v1/opendsr/certificate.pem").content
    check(pem, signature := receipt.pop("processor_signature"), canonical_json(receipt))
    with pytest.raises(InvalidSignature):
        check(pem, signature, canonical_json({**receipt, "received_time": "2030-01-01T00:00:00Z"}))
    assert world.erased() == {0, 1}  # p0 is in s0 and s1


def test_the_life_of_a_request_is_told_by_callbacks_that_verify(
    client: TestClient, world: World, receiver: Receiver, settings: Settings
) -> None:
    urls = [f"{receiver.url}/a", f"{receiver.url}/b"]
    assert client.post(URL, json=order("p0", status_callback_urls=urls)).status_code == 201
    world.work()
    courier = Courier(settings, world.database)
    receiver.statuses = [500, 200]  # the first one is tried again
    while deliver_due(courier):
        with world.database.write() as session:
            session.execute(update(WebhookDelivery).values(next_attempt_at=now(session)))
    pem = client.get("/v1/opendsr/certificate.pem").content
    told: dict[str, list[str]] = {url: [] for url in urls}
    for call in receiver.calls[1:]:
        check(pem, call.headers["x-opendsr-signature"], call.body)
        assert call.headers["x-opendsr-processor-domain"] == DOMAIN
        body = json.loads(call.body)
        assert {
            "controller_id",
            "expected_completion_time",
            "status_callback_url",
            "subject_request_id",
            "request_status",
        } <= set(body)
        assert body["status_callback_url"].endswith(call.path)
        told[body["status_callback_url"]].append(body["request_status"])
    assert [sorted(statuses) for statuses in told.values()] == [["completed", "in_progress"]] * 2
    assert "p0" not in str([call.body for call in receiver.calls])


def test_a_status_is_signed_and_leads_to_the_report(client: TestClient, world: World) -> None:
    client.post(URL, json=order("p0"))
    open_one = signed(client, client.get(f"{URL}/{ID}"), 200)
    assert (open_one["request_status"], "results_url" in open_one) == ("in_progress", False)
    world.work()
    status = signed(client, client.get(f"{URL}/{ID}"), 200)
    own = status["extensions"][DOMAIN]
    assert status["request_status"] == own["status"] == "completed"
    assert own["verdict"] == "PASS"
    path = f"/v1/deletion-requests/{own['request_id']}"
    assert status["results_url"] == f"https://{DOMAIN}{path}/report"
    assert client.get(path).json()["subject_request_id"] == ID
    assert status["expected_completion_time"].endswith("Z")


def test_a_request_can_be_withdrawn_until_it_is_closed(client: TestClient, world: World) -> None:
    client.post(URL, json=order("p0"))
    receipt = signed(client, client.delete(f"{URL}/{ID}"), 202)
    assert {"controller_id", "received_time", "subject_request_id"} <= set(receipt)
    pem = client.get("/v1/opendsr/certificate.pem").content
    check(pem, receipt.pop("processor_signature"), canonical_json(receipt))
    assert client.get(f"{URL}/{ID}").json()["request_status"] == "cancelled"
    refusal(client.delete(f"{URL}/{ID}"), "already_closed")


def test_a_failure_is_told_though_opendsr_has_no_word_for_it(
    client: TestClient, world: World
) -> None:
    own = {"policy": "first-look", "ladder": ["muda"]}
    client.post(URL, json=order("p0", extensions={DOMAIN: own}))
    world.work("FAIL")
    status = client.get(f"{URL}/{ID}").json()
    assert status["request_status"] == "cancelled"
    assert status["extensions"][DOMAIN]["status"] == "failed"
    assert "results_url" not in status
