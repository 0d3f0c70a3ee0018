"""Approval over HTTP: by another key, of the candidate that was seen, or not at all."""

from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from service.tables import Approval, DeletionRequest, ModelVersion
from service.verify import keys_of_jwks, verify
from tests.service.http.conftest import MakeKey
from tests.service.http.test_contract import URL, act, opened
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import ENVELOPE, wish
from tests.service.ledger.world import World


@pytest.fixture
def officer(make_key: MakeKey) -> dict[str, str]:
    """Return the headers of another key, one that may approve."""
    return {"Authorization": f"Bearer {make_key('requests:approve', 'requests:read')}"}


def test_a_candidate_is_approved_by_another_key(
    client: TestClient, world: World, officer: dict[str, str], audit_result: dict[str, Any]
) -> None:
    request = opened(client, world, "s0", approval=True)
    body = {"reason": "evidence_reviewed"}
    problem(
        act(client, request, "approve", json=body, headers=officer), 409, "not_awaiting_approval"
    )
    world.work("PASS")
    shown = client.get(request["links"]["self"]).json()
    assert (shown["status"], shown["progress"]["phase"]) == ("in_progress", "awaiting_approval")
    assert shown["approval"]["candidate_version"] == 2
    assert (shown["approval"]["verdict"], shown["approval"]["decision"]) == ("PASS", None)
    assert shown["days_left"] is not None
    problem(client.get(request["links"]["report"]), 404, "report_not_ready")
    problem(act(client, request, "approve", json=body), 409, "approver_is_requester")
    wrong = {**body, "candidate_version": 9}
    problem(act(client, request, "approve", json=wrong, headers=officer), 409, "other_candidate")
    with world.database.write() as session:  # a real worker's result, from which the API reports
        row = session.scalars(select(Approval)).one()
        row.result = {**row.result, "audits": {request["id"]: audit_result}}
    done = act(client, request, "approve", json=body, headers=officer).json()
    assert (done["status"], done["approval"]["decision"]) == ("completed", "approved")
    assert done["approval"]["decided_by"] != done["created_by"]
    report = client.get(request["links"]["report"], headers={"Accept": ENVELOPE})
    jwks = client.get("/.well-known/jwks.json").json()
    statement = verify(report.content, keys_of_jwks(jwks)).statement
    assert done["id"] in str(statement)


def test_a_candidate_is_rejected(client: TestClient, world: World, officer: dict[str, str]) -> None:
    request = opened(client, world, "s0", approval=True, ladder=["muda"])
    world.work("PASS")
    body = {"reason": "utility_loss"}
    done = act(client, request, "reject", json=body, headers=officer).json()
    assert (done["status"], done["reason_code"]) == ("failed", "not_approved")
    assert done["approval"]["reason_code"] == "utility_loss"
    with world.database.read() as session:
        states = session.scalars(select(ModelVersion.state).order_by(ModelVersion.number)).all()
    assert states == ["current", "rejected"]


@pytest.mark.usefixtures("officer")
def test_approving_needs_its_scope(client: TestClient, world: World, make_key: MakeKey) -> None:
    request = opened(client, world, "s0", approval=True)
    headers = {"Authorization": f"Bearer {make_key('requests:write', 'requests:read')}"}
    response = act(client, request, "approve", json={"reason": "other"}, headers=headers)
    assert problem(response, 403, "insufficient_scope")["scope"] == "requests:approve"


def test_approval_cannot_be_asked_where_nobody_could_give_it(
    client: TestClient, world: World, make_key: MakeKey
) -> None:
    body = wish(world, "s0", approval=True)
    for dry in (True, False):
        problem(client.post(URL, json={**body, "dry_run": dry}), 409, "no_approver")
    make_key("requests:read")
    problem(client.post(URL, json=body), 409, "no_approver")
    assert world.all(DeletionRequest) == []
    make_key("requests:approve")
    assert client.post(URL, json=body).status_code == 202
