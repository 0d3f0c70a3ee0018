"""What the OpenDSR adapter refuses, and that a refusal tells nobody too much."""

import logging
import uuid
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.config import Settings
from service.keys import create_key, ensure_tenant
from service.main import create_app
from service.opendsr import OpendsrNotReady, OpendsrSigner
from tests.service.certificates import certificate
from tests.service.http.conftest import MakeKey
from tests.service.http.opendsr.conftest import DOMAIN, ID, URL, order, refusal
from tests.service.http.test_errors import problem
from tests.service.ledger.world import World


@pytest.mark.parametrize("kind", ["access", "portability"])
def test_other_rights_are_refused_as_unsupported(client: TestClient, kind: str) -> None:
    refusal(client.post(URL, json=order("p0", subject_request_type=kind)), "opendsr_unsupported")


def test_identities_of_another_kind_are_ignored_beside_ours_and_refused_alone(
    client: TestClient, world: World
) -> None:
    email = {
        "identity_type": "email",
        "identity_value": "johndoe@example.com",
        "identity_format": "raw",
    }
    alone = refusal(client.post(URL, json=order(subject_identities=[email])), "opendsr_unsupported")
    assert "johndoe" not in str(alone)
    body = order("p1")
    body["subject_identities"].append(email)
    assert client.post(URL, json=body).status_code == 201
    assert world.erased() == {2, 7}  # p1 is in s2 and s3, the hold-out lies between them


def test_the_extension_names_model_and_samples(client: TestClient, world: World) -> None:
    own = {"model_id": str(world.model_id), "sample_ids": ["s0"], "policy": "first-look"}
    body = order(extensions={DOMAIN: own})
    del body["subject_identities"], body["regulation"]  # as the example of §7.2 does without
    assert client.post(URL, json=body).status_code == 201
    assert world.erased() == {0}
    wrong = {"model_id": str(uuid.uuid4()), "sample_ids": ["s2"]}
    again = order(extensions={DOMAIN: wrong}, subject_request_id=str(uuid.uuid4()))
    problem(client.post(URL, json=again), 404, "not_found")


def test_the_extension_names_rungs_with_hyperparameters(client: TestClient, world: World) -> None:
    rung = {"method": "salun", "hyperparameters": {"salient_share": 0.25}}
    own = {"sample_ids": ["s0"], "policy": "first-look", "ladder": [rung, "retrain"]}
    assert client.post(URL, json=order(extensions={DOMAIN: own})).status_code == 201
    world.work()
    assert world.contexts[-1].ladder == (rung, "retrain")
    wrong = {**own, "ladder": [{"method": "salun", "hyperparameters": {"salient_share": 2}}]}
    again = order(extensions={DOMAIN: wrong}, subject_request_id=str(uuid.uuid4()))
    refused = problem(client.post(URL, json=again), 400, "bad_hyperparameters")
    assert refused["errors"][0]["pointer"] == "/ladder/0/hyperparameters/salient_share"


@pytest.mark.parametrize(
    "fields",
    [
        {"subject_request_id": "A7551968-D5D6-44B2-9831-815AC9017798"},
        {"subject_request_id": "a7551968-d5d6-14b2-9831-815ac9017798"},
        {"submitted_time": "yesterday"},
        {"submitted_time": "2018-10-02T15:00:00"},
        {"regulation": "lgpd"},
        {"subject_request_type": "rectification"},
        {"extensions": {DOMAIN: {"api_key": "x"}}},
        {"extensions": {DOMAIN: 5}},
    ],
)
def test_malformed_requests_are_refused_with_the_place(
    client: TestClient, fields: dict[str, object]
) -> None:
    document = refusal(client.post(URL, json=order("p0", **fields)), "opendsr_invalid")
    assert document["errors"]
    assert not any(str(value) in str(document) for value in fields.values())


def test_a_body_that_is_no_json_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    refusal(client.post(URL, content=b"{", headers=headers), "opendsr_invalid")


def test_refusals_of_the_ledger_are_told_as_400(client: TestClient, world: World) -> None:
    client.post(URL, json=order("p0"))
    refusal(client.post(URL, json=order("p3")), "opendsr_repeated")
    other = str(uuid.uuid4())
    taken = order(subject_request_id=other, extensions={DOMAIN: {"sample_ids": ["s0"]}})
    refusal(client.post(URL, json=taken), "already_requested")
    refusal(client.post(URL, json=order("p0", subject_request_id=other)), "no_samples")
    refusal(client.post(URL, json=order("nobody", subject_request_id=other)), "no_samples")
    urls = ["https://169.254.169.254/latest"]
    body = order("p3", subject_request_id=other, status_callback_urls=urls)
    refusal(client.post(URL, json=body), "url_refused")


def test_another_tenant_finds_nothing_and_may_use_the_same_id(
    client: TestClient, world: World
) -> None:
    client.post(URL, json=order("p0"))
    with world.database.write() as session:
        _, token = create_key(session, ensure_tenant(session, "other").id, "theirs")
    theirs = {"Authorization": f"Bearer {token}"}
    for method in ("GET", "DELETE"):
        problem(client.request(method, f"{URL}/{ID}", headers=theirs), 404, "not_found")
    problem(client.post(URL, json=order("p0"), headers=theirs), 404, "not_found")  # the model


def test_keys_and_scopes_are_asked_for(anonymous: TestClient, make_key: MakeKey) -> None:
    problem(anonymous.get(f"{URL}/{ID}"), 401, "invalid_credentials")
    headers = {"Authorization": f"Bearer {make_key('requests:read')}"}
    response = anonymous.post(URL, json=order("p0"), headers=headers)
    assert problem(response, 403, "insufficient_scope")["error"]["code"] == 403


def test_identities_reach_no_log(
    client: TestClient,
    world: World,
    caplog: pytest.LogCaptureFixture,
    capsys: Any,  # noqa: ANN401
) -> None:
    with caplog.at_level(logging.DEBUG):
        client.post(URL, json=order("p0", "canary-customer"))
        client.post(URL, json=order("canary-customer", subject_request_type="access"))
    assert "canary-customer" not in caplog.text + "".join(capsys.readouterr())


def test_without_configuration_the_adapter_says_so(
    settings: Settings, world: World, make_key: MakeKey
) -> None:
    bare = settings.model_copy(update={"opendsr_key_file": None})
    with TestClient(create_app(bare)) as client:
        client.headers["Authorization"] = f"Bearer {make_key()}"
        for path in ("/v1/opendsr/discovery", f"{URL}/{ID}"):
            problem(client.get(path), 503, "opendsr_not_ready")


def test_a_key_that_does_not_fit_its_certificate_or_domain_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    elsewhere = settings.model_copy(update={"public_url": "https://other.example.com"})
    with pytest.raises(OpendsrNotReady, match=r"not issued to other\.example\.com"):
        OpendsrSigner.from_settings(elsewhere)
    (tmp_path / "second").mkdir()
    second, _ = certificate(tmp_path / "second", DOMAIN)
    with pytest.raises(OpendsrNotReady, match="does not belong"):
        OpendsrSigner.from_settings(settings.model_copy(update={"opendsr_key_file": second}))
    second.chmod(0o644)
    with pytest.raises(OpendsrNotReady, match="chmod 600"):
        OpendsrSigner.from_settings(settings.model_copy(update={"opendsr_key_file": second}))
