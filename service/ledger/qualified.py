"""Which qualification lets a run say QUALIFIED, what a report cites of it, and when it is over."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.commitment import digest_of
from service.database import now
from service.errors import Unprocessable
from service.ledger.graph import cancel_jobs
from service.ledger.log import iso
from service.ledger.orders import RETRAIN, Rung
from service.ledger.reading import find_current
from service.ledger.rungs import hyperparameters_of, method_of
from service.ledger.states import move
from service.policies import load_policy
from service.tables import (
    Job,
    ModelVersion,
    Qualification,
    QualificationState,
    QualificationTrial,
)

MIN_PASS_RATE = 0.5
"""A method that fails its trials more often than it passes them qualifies for nothing."""
KIND_OF_SCOPE = {"class": "class", "instance": "mislabelled"}
DOES_NOT_PROVE = (
    (
        "That this erasure succeeded: the pass rate is that of other erasures on the same model,"
        " and this one was not compared with models that never saw its samples."
    ),
    (
        "That the trials resemble this request: they left out whole classes, or samples that were"
        " planted with wrong labels, which leave stronger traces than correctly labelled ones."
    ),
    (
        "That the rate is exact: its interval is wide for few trials, and takes them as"
        " independent though they share one data set and, in class scope, one original."
    ),
)


@dataclass(frozen=True)
class Vouched:
    """An audit after the qualification was asked; `citation` is null where it does not vouch."""

    audit: dict[str, Any]
    citation: dict[str, Any] | None


def method_digest(method: dict[str, Any]) -> str:
    """Return the digest of a method's name, version and hyperparameters."""
    return digest_of({key: method[key] for key in ("name", "version", "hyperparameters")})


def find_live(
    session: Session, model_id: uuid.UUID, method: str, policy_digest: str
) -> Qualification | None:
    """Return the newest live qualification of a method on a model under a policy."""
    query = (
        select(Qualification)
        .where(
            Qualification.model_id == model_id,
            Qualification.method == method,
            Qualification.policy_digest == policy_digest,
            Qualification.state == QualificationState.LIVE,
        )
        .order_by(Qualification.decided_at.desc(), Qualification.id.desc())
        .execution_options(populate_existing=True)
    )
    return next((row for row in session.scalars(query) if outdated(session, row) is None), None)


def unqualified_methods(
    session: Session, model_id: uuid.UUID, ladder: Sequence[Rung], policy_digest: str
) -> list[str]:
    """Return the approximate methods of a ladder that no live qualification is about.

    None is about a method with hyper-parameters other than its defaults.
    """
    return [
        method_of(rung)
        for rung in ladder
        if method_of(rung) != RETRAIN
        and (
            hyperparameters_of(rung)
            or find_live(session, model_id, method_of(rung), policy_digest) is None
        )
    ]


def outdated(session: Session, row: Qualification) -> tuple[str, str] | None:
    """Return the code and the words of why a qualification holds no more; None while it does."""
    if not _policy_stands(row):
        name = f"{row.policy['name']}/{row.policy['version']}"
        return "policy_changed", f"The policy {name} is no longer the one of the trials."
    current = find_current(session, row.model_id)
    steps = None if current is None else steps_since(session, current, row.base_version_id)
    if steps is None:
        words = "The current version is not the qualified one after approximate erasures alone."
        return "lineage_moved", f"{words} It was retrained since."
    allowed = row.policy["max_approximate_chain"]
    if steps >= allowed:
        words = f"{steps} approximate erasures were made since the trials"
        return "drifted", f"{words}; the policy allows fewer than {allowed}."
    return None


def steps_since(session: Session, version: ModelVersion, base_id: uuid.UUID) -> int | None:
    """Count the approximate erasures from a base to a version; None where a retraining lies."""
    steps = 0
    step: ModelVersion | None = version
    while step is not None and step.id != base_id:
        if step.method is None or step.method["name"] == RETRAIN or step.parent_id is None:
            return None
        steps += 1
        step = session.get(ModelVersion, step.parent_id)
    return None if step is None else steps


def expire_outdated(session: Session, model_id: uuid.UUID) -> int:
    """Expire what holds no more, stop the trials of it, and return how many."""
    query = select(Qualification).where(
        Qualification.model_id == model_id,
        Qualification.state.in_([QualificationState.RUNNING, QualificationState.LIVE]),
    )
    expired = 0
    for row in session.scalars(query.execution_options(populate_existing=True)).all():
        if (reason := outdated(session, row)) is not None:
            expire(session, row, *reason)
            expired += 1
    return expired


def expire(session: Session, row: Qualification, code: str, reason: str) -> None:
    """End a running or live qualification because what it was about is no more."""
    move(session, row, QualificationState.EXPIRED, code=code)
    row.reason_code, row.reason, row.expired_at = code, reason, now(session)
    cancel_jobs(session, trial_jobs(session, row))
    session.flush()


def trial_jobs(session: Session, row: Qualification) -> list[Job]:
    """Return the jobs of a qualification, in the order of its trials."""
    query = (
        select(Job)
        .join(QualificationTrial, QualificationTrial.job_id == Job.id)
        .where(QualificationTrial.qualification_id == row.id)
        .order_by(QualificationTrial.number)
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(query))


def vouch(
    session: Session, candidate: ModelVersion, policy_digest: str, audit: dict[str, Any]
) -> Vouched:
    """Turn an INCONCLUSIVE audit whose checks are all clean into QUALIFIED, if one vouches for it.

    A qualification of another version or other hyperparameters of the method expires here.
    """
    method = candidate.method or {}
    row = find_live(session, candidate.model_id, method["name"], policy_digest)
    if row is not None and row.method_digest != method_digest(method):
        expire(
            session,
            row,
            "method_changed",
            "The method's version or hyperparameters are no longer those of the trials.",
        )
        row = None
    kinds = sorted({KIND_OF_SCOPE[part["scope"]] for part in audit["parts"]})
    refusal = _refusal(row, method["name"], kinds)
    if not _is_clean(audit):
        return Vouched(audit, None)
    if row is None or refusal is not None:
        return Vouched({**audit, "reasons": [refusal, *audit["reasons"]]}, None)
    cited = citation(session, row, candidate, kinds)
    return Vouched(qualify_by(cited, audit), cited)


def qualify_by(cited: dict[str, Any], audit: dict[str, Any]) -> dict[str, Any]:
    """Return an audit as a cited qualification makes it: QUALIFIED where its checks are clean."""
    if not _is_clean(audit):
        return audit
    parts = [
        {**part, "verdict": "QUALIFIED", "reasons": [qualified_sentence(cited, part["scope"])]}
        for part in audit["parts"]
    ]
    reasons = [reason for part in parts for reason in part["reasons"]]
    return {**audit, "verdict": "QUALIFIED", "parts": parts, "reasons": reasons}


def _is_clean(audit: dict[str, Any]) -> bool:
    """Say whether all checks could be made and none speaks against the candidate."""
    checks = [check["ok"] is True for part in audit["parts"] for check in part["checks"]]
    return audit["verdict"] == "INCONCLUSIVE" and all(checks)


def citation(
    session: Session, row: Qualification, candidate: ModelVersion, kinds: list[str]
) -> dict[str, Any]:
    """Return what a report says of the qualification that it rests on."""
    base = session.get_one(ModelVersion, row.base_version_id)
    results = row.results or {}
    return {
        "id": str(row.id),
        "date": None if row.decided_at is None else iso(row.decided_at),
        "method": {
            "name": row.method,
            "version": row.method_version,
            "digest": row.method_digest,
        },
        "policy_digest": row.policy_digest,
        "base_version": base.number,
        "approximate_runs_since": (steps_since(session, candidate, base.id) or 1) - 1,
        "references_per_trial": row.num_references,
        "kinds": {kind: results[kind] for kind in kinds},
        "does_not_prove": list(DOES_NOT_PROVE),
    }


def qualified_sentence(cited: dict[str, Any], scope: str) -> str:
    """Say what the qualification found for this scope, and when."""
    found = cited["kinds"][KIND_OF_SCOPE[scope]]
    low, high = found["interval"]
    what = "whole classes" if scope == "class" else "samples planted with wrong labels"
    name = cited["method"]["name"]
    return (
        "The checks without references found nothing against the candidate."
        f" {name} passed {found['passes']} of {found['trials']} trial erasures of {what} on this"
        f" model ({100 * found['rate']:.0f} %, {100 * found['confidence']:.0f} % interval"
        f" {100 * low:.0f} to {100 * high:.0f} %; qualification {cited['id']} of"
        f" {str(cited['date'])[:10]})."
    )


def _refusal(row: Qualification | None, method: str, kinds: list[str]) -> str | None:
    if row is None:
        return f"There is no live qualification of {method} on this model under this policy."
    results = row.results or {}
    weak = [kind for kind in kinds if not qualifies(results.get(kind))]
    if not weak:
        return None
    names = " and ".join(weak)
    return f"The qualification of {method} does not cover trials of kind {names}."


def qualifies(result: dict[str, Any] | None) -> bool:
    """Say whether the trials of one kind went well enough to be cited at all."""
    return result is not None and result["rate"] >= MIN_PASS_RATE


def _policy_stands(row: Qualification) -> bool:
    try:
        known = load_policy(f"{row.policy['name']}/{row.policy['version']}")
    except Unprocessable:
        return False
    return known.digest == row.policy_digest
