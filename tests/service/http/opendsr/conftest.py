"""A processor with a certificate, and what a controller sends it and checks of it."""

import base64
import hashlib
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.testclient import TestClient

from service.config import Settings
from service.database import Database
from tests.service.certificates import certificate
from tests.service.ledger.world import World
from tests.service.receiver import Receiver, listening

DOMAIN = "dsr.example.com"
URL = "/v1/opendsr/requests"
ID = "a7551968-d5d6-44b2-9831-815ac9017798"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a receiver on this machine."""
    with listening() as found:
        yield found


@pytest.fixture(params=["rsa", "ec"])
def settings(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    data: Path,
    sqlite_database: Database,
    world: World,
) -> Settings:
    """Return settings of a processor with a certificate of each kind and a model of its own."""
    key, made = certificate(tmp_path, DOMAIN, request.param)
    return Settings(
        home=tmp_path / "home",
        database_url=sqlite_database.url.render_as_string(hide_password=False),
        data_roots=[data],
        public_url=f"https://{DOMAIN}",
        opendsr_key_file=key,
        opendsr_certificate_file=made,
        opendsr_model_id=world.model_id,
        outgoing_allow_http=True,
        outgoing_networks=(IPv4Network("127.0.0.0/8"),),
    )


def order(*customers: str, **fields: object) -> dict[str, Any]:
    """Return a request as the specification's §7.2 has it, of these customers."""
    return {
        "regulation": "gdpr",
        "subject_request_id": ID,
        "subject_request_type": "erasure",
        "submitted_time": "2018-10-02T15:00:00Z",
        "subject_identities": [
            {
                "identity_type": "controller_customer_id",
                "identity_value": name,
                "identity_format": "raw",
            }
            for name in customers
        ],
        "api_version": "2.0",
        "extensions": {
            DOMAIN: {"policy": "first-look"},
            "example-other-processor.com": {"foo-other-processor-custom-id": 654321},
        },
        **fields,
    }


def check(pem: bytes, signature: str, body: bytes) -> None:
    """Verify as a controller does: the certificate's key over the SHA-256 of the raw body."""
    key = x509.load_pem_x509_certificate(pem).public_key()
    digest = hashlib.sha256(body).digest()
    raw = base64.b64decode(signature, validate=True)
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(raw, digest, padding.PKCS1v15(), Prehashed(SHA256()))
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(raw, digest, ec.ECDSA(Prehashed(SHA256())))


def signed(client: TestClient, response: httpx2.Response, status: int) -> dict[str, Any]:
    """Check status, headers and signature of an answer and return its body."""
    assert response.status_code == status, response.text
    assert response.headers["x-opendsr-processor-domain"] == DOMAIN
    pem = client.get("/v1/opendsr/certificate.pem").content
    check(pem, response.headers["x-opendsr-signature"], response.content)
    body: dict[str, Any] = response.json()
    return body


def refusal(response: httpx2.Response, code: str) -> dict[str, Any]:
    """Check that a refusal is OpenDSR's 400, and a problem document too; return it."""
    document: dict[str, Any] = response.json()
    assert (response.status_code, document["code"]) == (400, code)
    assert document["error"]["code"] == document["status"] == 400
    assert {"domain", "reason", "message"} == set(document["error"]["errors"][0])
    return document
