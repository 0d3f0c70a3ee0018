"""What tests of later audits of closed requests share."""

import uuid
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service import ledger, reports
from service.errors import Conflict
from service.ledger import Caller
from service.signing import load_signer
from service.tables import Audit, RequestAudit
from tests.service.ledger import answers
from tests.service.ledger.world import World

LADDER = ("muda", "retrain")


def measure_in_full(
    world: World, measured: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let workers measure what a real audit measures, search for copies, and sign real reports."""
    plain, checked = answers.audit_answer, answers.checked_answer

    def audited(verdicts: dict[str, str]) -> dict[str, Any]:
        audits = {key: {**deepcopy(measured), "verdict": v} for key, v in verdicts.items()}
        return plain(verdicts) | {"audits": audits}

    def unreferenced(clean: dict[str, bool], *scopes: str) -> dict[str, Any]:
        found = checked(clean, *scopes)
        for audit in found["audits"].values():
            audit |= {"direction": None, "num_references": 0}
            for part in audit["parts"]:
                part |= {"influence": None, "metrics": deepcopy(measured["parts"][0]["metrics"])}
        return found

    monkeypatch.setattr(answers, "audit_answer", audited)
    monkeypatch.setattr(answers, "checked_answer", unreferenced)
    signer = load_signer(folder / "signing.pem", create=True)
    world.sign = partial(reports.publish, signer=signer)
    world.copies = {"byte_equal": [], "near": ["3.png"]}


def closed(world: World, *sample_ids: str, **order: Any) -> uuid.UUID:  # noqa: ANN401 - fields of the order
    """Return a request for s0 and s5, or other samples, that the workers have closed."""
    request_id = world.request(*(sample_ids or ("s0", "s5")), **order)
    world.work("PASS")
    assert world.get(request_id).status == "completed"
    return request_id


def qualified(world: World) -> uuid.UUID:
    """Return a request that was closed on the word of a qualification."""
    world.qualify("muda", trials=4)
    world.work("PASS")
    request_id = closed(world, audit="qualified", ladder=LADDER)
    assert world.get(request_id).verdict == "QUALIFIED"
    return request_id


def open_audit(
    world: World,
    request_id: uuid.UUID,
    purpose: ledger.AuditOfRequest = "upgrade",
    caller: Caller | None = None,
) -> uuid.UUID:
    """Ask for an audit of a closed request."""
    with world.database.write() as session:
        who = caller or world.caller
        return ledger.open_request_audit(session, who, request_id, purpose).id


def done(
    world: World, request_id: uuid.UUID, purpose: ledger.AuditOfRequest = "upgrade"
) -> tuple[Audit, RequestAudit]:
    """Open an audit of a request, let the workers close it and return it with its link."""
    audit_id = open_audit(world, request_id, purpose)
    world.work("PASS")
    with world.database.read() as session:
        audit = ledger.get_audit(session, world.caller, audit_id)
        assert audit.status == "completed", audit.reason
        link = ledger.request_audit_of(session, audit)
        assert link is not None
        return audit, link


def compared(world: World, request_id: uuid.UUID) -> dict[str, Any]:
    """Reproduce a request and return what came of it."""
    comparison = done(world, request_id, "reproduction")[1].comparison
    assert comparison is not None
    return comparison


def refusal(
    world: World, request_id: uuid.UUID, purpose: ledger.AuditOfRequest = "upgrade"
) -> Conflict:
    """Return why an audit of a request is refused."""
    with pytest.raises(Conflict) as caught:
        open_audit(world, request_id, purpose)
    return caught.value


def last_comparison(world: World) -> dict[str, Any]:
    """Return what the newest reproduction found."""
    with world.database.read() as session:
        link = session.query(RequestAudit).order_by(RequestAudit.audit_id.desc()).first()
    assert link is not None
    assert link.comparison is not None
    return link.comparison
