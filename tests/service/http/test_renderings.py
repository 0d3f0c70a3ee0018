"""What is made from a report, over HTTP: PDF, reply, signed list, bundle; and the log it names."""

import io
import json
import uuid
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pypdf import PdfReader
from starlette.testclient import TestClient

from service import ledger, verify
from service.keys import create_key, ensure_tenant
from tests.service.http.conftest import MakeKey
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import ENVELOPE, closed, wish
from tests.service.ledger.world import World

PDF = "application/pdf"


@pytest.fixture
def report_url(client: TestClient, signing_world: World) -> str:
    """Return the address of a report."""
    request = closed(client, signing_world, "s0", "s1")
    location: str = client.get(request["links"]["report"]).headers["content-location"]
    return location


def test_the_pdf_carries_the_envelope(client: TestClient, report_url: str) -> None:
    envelope = client.get(report_url, headers={"Accept": ENVELOPE}).content
    answer = client.get(report_url, headers={"Accept": "application/pdf, */*;q=0.1"})
    assert answer.headers["content-type"] == PDF
    assert PdfReader(io.BytesIO(answer.content)).attachments == {"report.dsse.json": [envelope]}
    again = {"Accept": PDF, "If-None-Match": answer.headers["etag"]}
    assert client.get(report_url, headers=again).status_code == 304
    assert client.get(report_url, headers={"Accept": PDF}).content == answer.content


def test_page_and_pdf_are_those_of_the_signed_list(
    client: TestClient, report_url: str, tmp_path: Path
) -> None:
    kinds = {"dsse.json": ENVELOPE, "html": "text/html", "pdf": PDF}
    for suffix, kind in kinds.items():
        content = client.get(report_url, headers={"Accept": kind}).content
        (tmp_path / f"report.{suffix}").write_bytes(content)
    listing = client.get(f"{report_url}/renderings")
    assert listing.headers["content-type"] == ENVELOPE
    (tmp_path / "renderings").write_bytes(listing.content)
    outcome = verify.verify(
        (tmp_path / "report.dsse.json").read_bytes(),
        verify.keys_of_jwks(client.get("/.well-known/jwks.json").json()),
        html=str(tmp_path / "report.html"),
        pdf=str(tmp_path / "report.pdf"),
        renderings=str(tmp_path / "renderings"),
    )
    (claim,) = [claim for claim in outcome.claims if "made these pages" in claim]
    assert outcome.claims[claim] is True


def test_the_log_is_served_as_the_verifier_reads_it(
    client: TestClient, report_url: str, tmp_path: Path
) -> None:
    statement = client.get(report_url).json()
    named = statement["predicate"]["audit_log"]
    log = client.get("/v1/audit-log", params={"limit": 1000})
    assert log.json()["items"][named["seq"] - 1]["hash"] == named["hash"]
    (tmp_path / "log.json").write_bytes(log.content)
    envelope = client.get(report_url, headers={"Accept": ENVELOPE}).content
    keys = verify.keys_of_jwks(client.get("/.well-known/jwks.json").json())
    outcome = verify.verify(envelope, keys, log=str(tmp_path / "log.json"))
    assert [holds for claim, holds in outcome.claims.items() if "--log" in claim] == [True]
    first = client.get("/v1/audit-log", params={"limit": 2}).json()
    rest = client.get("/v1/audit-log", params={"cursor": first["next_cursor"]}).json()
    assert [first["items"][-1]["seq"], rest["items"][0]["seq"]] == [2, 3]
    problem(client.get("/v1/audit-log", params={"cursor": "x"}), 422, "invalid_request")


def test_a_report_fits_the_schema_that_is_served(
    client: TestClient, anonymous: TestClient, report_url: str
) -> None:
    served = anonymous.get("/v1/report-schema")
    assert served.headers["content-type"] == "application/schema+json"
    statement = client.get(report_url).json()
    jsonschema.Draft202012Validator(served.json()).validate(statement)
    network = statement["predicate"]["lineage"]["model"]
    assert network["preprocessing"]["size"] == [8, 8]
    assert network["num_classes"] == 3


def bundle_of(client: TestClient, report_url: str) -> dict[str, bytes]:
    """Return the files of a report's bundle."""
    answer = client.get(f"{report_url}/bundle")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_bundle_names_no_sample(client: TestClient, report_url: str) -> None:
    files = bundle_of(client, report_url)
    assert "verify.py" in files
    texts = b"".join(files.values())
    assert not [name for name in (b'"s0"', b'"s1"', b"s0.png", b"0.png") if name in texts]
    again = bundle_of(client, report_url)
    dated = {"renderings.dsse.json"}  # says when it was signed
    assert {name for name in files if files[name] != again[name]} <= dated
    assert files.keys() == again.keys()


def reply_of(client: TestClient, request: dict[str, Any], accept: str) -> Any:  # noqa: ANN401
    """Return the answer with the reply to a request."""
    url = f"/v1/deletion-requests/{request['id']}/reply"
    return client.get(url, headers={"Accept": accept})


def test_the_person_gets_a_reply_as_text_or_page(client: TestClient, signing_world: World) -> None:
    request = closed(client, signing_world, "s0")
    text = reply_of(client, request, "*/*")
    assert text.headers["content-type"].startswith("text/plain")
    assert "could not be told apart from 19 models" in " ".join(text.text.split())
    page = reply_of(client, request, "text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "Reply to your request" in page.text
    problem(reply_of(client, request, PDF), 406, "not_acceptable")


def test_a_failed_request_has_a_reply_without_a_report(client: TestClient, world: World) -> None:
    order = wish(world, "s0", ladder=["muda"])
    url = client.post("/v1/deletion-requests", json=order).headers["location"]
    problem(client.get(f"{url}/reply"), 404, "report_not_ready")
    world.work("FAIL")
    assert client.get(url).json()["status"] == "failed"
    assert "We could not remove the influence" in " ".join(client.get(f"{url}/reply").text.split())


def test_another_tenant_finds_none_of_it(
    client: TestClient, signing_world: World, report_url: str
) -> None:
    request = client.get(report_url).json()["predicate"]["request"]["id"]
    with signing_world.database.write() as session:
        other = ledger.Caller(ensure_tenant(session, "other").id, "key:other")
        token = create_key(session, other.tenant_id, "other")[1]
    headers = {"Authorization": f"Bearer {token}"}
    for url in (f"{report_url}/bundle", f"{report_url}/renderings", report_url):
        problem(client.get(url, headers=headers), 404, "not_found")
    problem(client.get(f"/v1/deletion-requests/{request}/reply", headers=headers), 404, "not_found")
    log = client.get("/v1/audit-log", headers=headers).json()["items"]
    assert {entry["tenant_id"] for entry in log} == {str(other.tenant_id)}
    problem(client.get(f"/v1/reports/{uuid.uuid4()}/bundle"), 404, "not_found")


def test_each_needs_its_scope(client: TestClient, report_url: str, make_key: MakeKey) -> None:
    headers = {"Authorization": f"Bearer {make_key('requests:read')}"}
    request = json.loads(client.get(report_url).content)["predicate"]["request"]["id"]
    reply = f"/v1/deletion-requests/{request}/reply"
    for url in (f"{report_url}/bundle", f"{report_url}/renderings", reply, "/v1/audit-log"):
        problem(client.get(url, headers=headers), 403, "insufficient_scope")
