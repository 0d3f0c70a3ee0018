"""The verdicts decide: close, take another look, or climb."""

import uuid
from collections.abc import Callable
from statistics import fmean
from typing import Any

from sqlalchemy.orm import Session

from service.database import now
from service.ledger.approving import ask_approval
from service.ledger.closing import close_audit, close_run
from service.ledger.failing import climb
from service.ledger.log import iso
from service.ledger.orders import RETRAIN
from service.ledger.planning import (
    audit_level,
    reference_count,
    requests_of,
    start_look,
)
from service.ledger.qualified import vouch
from service.ledger.references import usable_references
from service.ledger.report_context import ReportContext, SignedReport
from service.ledger.rungs import hyperparameters_of, method_of
from service.ledger.states import record
from service.tables import Audit, AuditPurpose, Model, ModelVersion, Run

CLOSING = frozenset({"PASS", "QUALIFIED", "NOTHING_TO_REMOVE"})
UNREFERENCED = frozenset({"FAIL", "INCONCLUSIVE"})
VERDICTS = UNREFERENCED | {"PASS", "NOTHING_TO_REMOVE"}
RETRAINED = "RETRAINED"

Publish = Callable[[ReportContext], SignedReport]


def settle_run(session: Session, run: Run, result: dict[str, Any], publish: Publish) -> None:
    """Close the run if every request's verdict allows it; otherwise look again or climb.

    A candidate that was retrained on R closes whatever its audit says: it is exact by provenance.
    """
    requests = requests_of(session, run)
    for request in requests:
        _check_verdict(run, result["audits"][str(request.id)])
    if run.audit == "qualified" and method_of(run.ladder[run.rung]) != RETRAIN:
        result = _ask_qualification(session, run, result)
    verdicts = {
        request.id: str(result["audits"][str(request.id)]["verdict"]) for request in requests
    }
    add_try(session, run, result["audits"])
    if method_of(run.ladder[run.rung]) == RETRAIN:
        _close(session, run, dict.fromkeys(verdicts, RETRAINED), result, publish)
    elif CLOSING.issuperset(verdicts.values()):
        _close(session, run, verdicts, result, publish)
    elif "FAIL" not in verdicts.values() and _has_next_look(run):
        _look_again(session, run)
    else:
        climb(session, run)


def _close(
    session: Session,
    run: Run,
    verdicts: dict[uuid.UUID, str],
    result: dict[str, Any],
    publish: Publish,
) -> None:
    """Close the run, or let its candidate wait where one of its requests needs approval."""
    waits = any(request.needs_approval for request in requests_of(session, run))
    if waits and set(verdicts.values()) != {"NOTHING_TO_REMOVE"}:
        ask_approval(session, run, verdicts, result)
    else:
        close_run(session, run, verdicts, result, publish)


def settle_audit(session: Session, audit: Audit, result: dict[str, Any], publish: Publish) -> None:
    """Report the verdict of an audit, after another look where the policy has one.

    A reproduction stays at the look at which its request was closed.
    """
    verdict = _check_verdict(audit, result["audits"][str(audit.id)])
    again = audit.purpose == AuditPurpose.REPRODUCTION
    if verdict == "INCONCLUSIVE" and _has_next_look(audit) and not again:
        _look_again(session, audit)
    else:
        close_audit(session, audit, verdict, result, publish)


def add_try(session: Session, run: Run, audits: dict[str, Any]) -> None:
    """Write down what the present candidate cost and how it was judged.

    `retrain_ratio` is its time over the mean reference's; `retrain_ratio_with_references` counts
    the time of all references of this look too. Both are null where there are no references.
    `hyperparameters` are those that the ladder gives the rung; the others are the defaults.
    """
    candidate = session.get_one(ModelVersion, run.candidate_version_id)
    model = session.get_one(Model, run.model_id)
    references = usable_references(session, model, run.retain_digest)[: reference_count(run)]
    seconds = candidate.seconds or 0.0
    times = [row.seconds or 0.0 for row in references]
    retrain = fmean(times) if times else 0.0
    entry = {
        "rung": run.rung,
        "method": method_of(run.ladder[run.rung]),
        "hyperparameters": hyperparameters_of(run.ladder[run.rung]),
        "look": run.look,
        "version": candidate.number,
        "sha256": candidate.weights_sha256,
        "seconds": seconds,
        "retrain_ratio": seconds / retrain if retrain else None,
        "retrain_ratio_with_references": (seconds + sum(times)) / retrain if retrain else None,
        "at": iso(now(session)),
        "audits": {
            key: {"verdict": audit["verdict"], "influence": audit.get("influence")}
            for key, audit in audits.items()
        },
    }
    run.tries = [*run.tries, entry]
    session.flush()


def _ask_qualification(session: Session, run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """Let the method's qualification vouch for each request whose checks are clean."""
    candidate = session.get_one(ModelVersion, run.candidate_version_id)
    vouched = {
        key: vouch(session, candidate, run.policy_digest, audit)
        for key, audit in result["audits"].items()
    }
    return {
        **result,
        "audits": {key: entry.audit for key, entry in vouched.items()},
        "qualifications": {key: entry.citation for key, entry in vouched.items()},
    }


def _check_verdict(owner: Run | Audit, audit: dict[str, Any]) -> str:
    """Return a worker's verdict; without references it can neither pass nor qualify."""
    verdict = str(audit["verdict"])
    if verdict not in (VERDICTS if audit_level(owner) == "references" else UNREFERENCED):
        raise ValueError(f"an audit gave the unknown verdict {verdict!r}")
    return verdict


def _has_next_look(owner: Run | Audit) -> bool:
    return audit_level(owner) == "references" and owner.look < len(owner.policy["looks"])


def _look_again(session: Session, owner: Run | Audit) -> None:
    owner.look += 1
    record(session, owner, "looks_again", look=owner.look)
    start_look(session, owner)
