"""Closed requests audited again and later, with real workers on the embedded stack."""

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID

from service import ledger
from service.client import ExpungeClient
from service.tables import Reference, ReferenceState
from tests.worker.installation import TRAIN, Installation
from tests.worker.test_stacks import client_of, worker


def reproduced(client: ExpungeClient, request: dict[str, Any]) -> dict[str, Any]:
    """Reproduce a request's audit and return the comparison."""
    made = client.wait(client.reproduce(request["id"])["id"], kind="audit")
    assert made["status"] == "completed", made
    found: dict[str, Any] = made["comparison"]
    return found


def ready_references(stack: Installation) -> int:
    """Return how many references could be used."""
    with stack.database.read() as session:
        return session.query(Reference).filter_by(state=ReferenceState.READY).count()


def purge(stack: Installation) -> None:
    """Purge all references."""
    settings = stack.settings.model_copy(update={"reference_grace_s": 0})
    with stack.database.write() as session:
        ledger.purge(session, settings, stack.caller.tenant_id)
    assert ready_references(stack) == 0


def change_da(predicate: dict[str, Any]) -> str:
    """Put another value in place of a recorded figure and return that figure's path."""
    part = predicate["audit"]["parts"][0]
    [row] = [row for row in part["metrics"] if row["name"] == "da"]
    row["candidate"] += 1e-6
    return f"audit.parts.{part['scope']}.metrics.da.candidate"


def tamper(stack: Installation, request: dict[str, Any]) -> str:
    """Change one recorded figure in the stored report; return its path."""
    with stack.database.write() as session:
        report = ledger.report_of_request(session, stack.caller, UUID(request["id"]))
        envelope = json.loads(report.envelope)
        statement = json.loads(base64.b64decode(envelope["payload"]))
        figure = change_da(statement["predicate"])
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        report.envelope = json.dumps(envelope).encode()
    return figure


def test_an_audit_comes_out_again_until_a_recorded_figure_is_changed(
    stack: Installation, weights: Path
) -> None:
    model_id = str(stack.model(weights))
    with client_of(stack) as client, worker(stack.settings), worker(stack.settings):
        assert client.wait_for_model(model_id)["status"] == "ready"
        ids = [f"id-{n}" for n in range(0, TRAIN, 3)]
        request = client.wait(client.open_request(model_id, ids, policy="first-look")["id"])
        assert request["status"] == "completed", request
        signed = client.report(request["id"])
        stored = reproduced(client, request)
        purge(stack)
        trained_again = reproduced(client, request)
        figure = tamper(stack, request)
        changed = reproduced(client, request)
        audits = client.get_request(request["id"])["audits"]
    assert signed["predicate"]["audit"]["num_references"] == 19
    for found in (stored, trained_again):
        assert found["differences"] == []
        assert (found["reproduced"], found["exact"], found["tolerance"]) == (True, True, 0)
        assert found["references"] == {"seeds": list(range(1000, 1019)), "other_weights": []}
        assert found["compared"] > 300
    assert changed["reproduced"] is False
    assert [entry["figure"] for entry in changed["differences"]] == [figure]
    assert [audit["reproduced"] for audit in audits] == [True, True, False]


def test_a_request_closed_without_references_is_upgraded_and_its_own_audit_reproduced(
    stack: Installation, weights: Path
) -> None:
    model_id = str(stack.model(weights))
    with client_of(stack) as client, worker(stack.settings), worker(stack.settings):
        assert client.wait_for_model(model_id)["status"] == "ready"
        terms = {"policy": "first-look", "audit": "none", "ladder": ["retrain"]}
        request = client.wait(client.open_request(model_id, ["id-0", "id-4"], **terms)["id"])
        assert request["verdict"] == "RETRAINED", request
        own = client.report(request["id"])
        found = reproduced(client, request)
        made = client.wait(client.audit_request(request["id"])["id"], kind="audit")
        report = client.report(made["id"], kind="audit")["predicate"]
        assert client.report(request["id"]) == own
    assert found["reproduced"], found["differences"]
    assert "verdict" in {entry["figure"] for entry in found["not_compared"]}
    assert made["status"] == "completed", made
    assert len(report["lineage"]["references"]) == 19
    data, run = report["lineage"]["dataset"], own["predicate"]["lineage"]["dataset"]
    assert (data["retain_digest"], data["erased"]) == (run["retain_digest"], 2)
    assert report["lineage"]["result"]["number"] == 2
    assert report["of_request"]["id"] == request["id"]
    assert ready_references(stack) == 19
