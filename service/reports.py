"""Build and sign reports: an in-toto Statement v1 about one request or one audit.

:func:`build_statement` is pure: the same context gives the same statement. The subject is the new
weights by digest; no sample id, ordinal or position enters a statement.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from typing import Any

from service.commitment import canonical_json
from service.copy_words import copy_notices
from service.errors import ServiceError
from service.ledger.report_context import (
    ReportContext,
    SignedReport,
    SubjectFacts,
    VersionFacts,
)
from service.policies import load_policy
from service.report_words import (
    WHAT_THIS_DOES_NOT_PROVE,
    WHAT_THIS_PROVES,
    limits,
    untouched_rejected,
    verdict_sentence,
)
from service.signing import Signer

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://expunge.dev/unlearning-report/v1"
COMMITMENT = "salted-merkle-sha256/1"
EXACT_METHOD = "retrain"


def build_statement(context: ReportContext) -> dict[str, Any]:
    """Return the statement that is signed, as a JSON object."""
    number = context.candidate.number
    name = context.model_name if number is None else f"{context.model_name}@{number}"
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": context.candidate.sha256}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": _predicate(context),
    }


def publish(
    context: ReportContext, signer: Signer, figures: Mapping[str, bytes] | None = None
) -> SignedReport:
    """Build the statement of a context and sign it.

    Args:
        context: Everything that the report says.
        signer: The service's key.
        figures: Content of the figures by name, when at hand: each must have the digest that the
            statement gives it.

    Raises:
        ServiceError: ``figure_digest_mismatch``: a figure is not the one that was measured.
    """
    for figure in context.figures:
        content = (figures or {}).get(figure["name"])
        if content is not None and hashlib.sha256(content).hexdigest() != figure["sha256"]:
            detail = f"The figure {figure['name']} does not have the digest that was recorded."
            raise ServiceError(500, "figure_digest_mismatch", detail)
    return sign_statement(build_statement(context), signer)


def sign_statement(statement: dict[str, Any], signer: Signer) -> SignedReport:
    """Sign a statement's canonical JSON in a DSSE envelope."""
    envelope = signer.sign(canonical_json(statement))
    return SignedReport(
        envelope=envelope, sha256=hashlib.sha256(envelope).hexdigest(), statement=statement
    )


def _predicate(context: ReportContext) -> dict[str, Any]:
    audit, notices = context.audit, copy_notices(context.near_duplicates)
    return {
        "report": {
            "about": context.subject.kind,
            "id": str(context.subject.id),
            "schema_version": "1",
            "generated_at": _iso(context.subject.closed_at),
            "generator": {"name": "expunge", "version": version("expunge")},
        },
        "request": _request(context.subject),
        "lineage": _lineage(context),
        "method": _method(context),
        "tries": _tries(context),
        "scope": context.subject.scope,
        "verdict": context.verdict,
        "verdict_in_words": verdict_sentence(context.verdict, audit, context.qualification),
        "direction": audit["direction"] if audit else None,
        "reasons": list(audit["reasons"]) if audit else [],
        "influence": audit["influence"] if audit else None,
        "untouched_rejected": untouched_rejected(audit),
        "policy": _policy(context),
        "audit_level": context.audit_level,
        "qualification": context.qualification,
        # Curves are drawn in the figures, whose tables hold their numbers.
        "audit": {k: v for k, v in audit.items() if k != "curves"} if audit else None,
        "residual_copies": [asdict(copy) for copy in context.residual_copies],
        "audit_log": asdict(context.log),
        "figures": [_figure(figure) for figure in context.figures],
        "environment": context.environment,
        "what_this_proves": list(WHAT_THIS_PROVES),
        "what_this_does_not_prove": [
            *(context.qualification or {}).get("does_not_prove", ()),
            *WHAT_THIS_DOES_NOT_PROVE,
        ],
        "near_duplicates": context.near_duplicates,
        "notices": notices,
        "limits": limits(audit, notices),
        **_additions(context),
    }


def _additions(context: ReportContext) -> dict[str, Any]:
    """Return the members that only some reports have."""
    found: dict[str, Any] = {}
    if context.of_request:
        found["of_request"] = context.of_request
    if context.pool is not None:
        found["pool"] = {**asdict(context.pool), "decides": False}
    return found


def _request(subject: SubjectFacts) -> dict[str, Any]:
    due = subject.due_at
    return {
        "id": str(subject.id),
        "subject_request_id": subject.subject_request_id,
        "label": subject.label,
        "regulation": subject.regulation,
        "submitted_time": _iso(subject.submitted_time),
        "received_at": _iso(subject.received_at),
        "due_at": _iso(due) if due else None,
        "due_rule": subject.due_rule,
        "completed_at": _iso(subject.closed_at),
        "days_used": (subject.closed_at - subject.received_at).days,
        "within_deadline": subject.closed_at <= due if due else None,
        "samples": {
            "count": subject.num_samples,
            "commitment": {"algorithm": COMMITMENT, "root": subject.commitment_root},
        },
    }


def _lineage(context: ReportContext) -> dict[str, Any]:
    return {
        "run_id": str(context.run_id) if context.run_id else None,
        "model": {
            "id": str(context.model_id),
            "name": context.model_name,
            "architecture": context.architecture,
            **context.network,
        },
        "dataset": {
            "id": str(context.dataset_id),
            "name": context.dataset_name,
            "fingerprint_registered": context.fingerprint_before,
            "retain_digest": context.retain_digest,
            "train": context.num_train,
            "holdout": context.num_holdout,
            "retain": context.num_retain,
            "erased": context.num_erased,
        },
        "base": _version(context.base),
        "result": {**_version(context.candidate), "promoted": context.promoted},
        "recipe": context.recipe,
        "recipe_digest": context.recipe_digest,
        "ladder": list(context.ladder),
        "start": context.start,
        "passed_over": list(context.passed_over),
        "references": [asdict(reference) for reference in context.references],
    }


def _version(facts: VersionFacts) -> dict[str, Any]:
    return {**asdict(facts), "created_at": _iso(facts.created_at)}


def _method(context: ReportContext) -> dict[str, Any] | None:
    if context.method is None:
        return None
    exact = context.method["name"] == EXACT_METHOD
    closing = context.tries[-1] if context.tries else {}
    return {
        **context.method,
        "class": "exact_retrain" if exact else "approximate",
        "retrain_ratio": closing.get("retrain_ratio"),
        "retrain_ratio_with_references": closing.get("retrain_ratio_with_references"),
    }


def _tries(context: ReportContext) -> list[dict[str, Any]]:
    """Return the tries with this request's own audit in each."""
    own = str(context.subject.id)
    tries = []
    for attempt in context.tries:
        audit = attempt["audits"].get(own) or {}
        facts = {name: value for name, value in attempt.items() if name != "audits"}
        told = {"verdict": audit.get("verdict"), "influence": audit.get("influence")}
        tries.append({**facts, **told})
    return tries


def _policy(context: ReportContext) -> dict[str, Any]:
    """Name the policy; add its content where the installed file still has that digest."""
    policy = {
        "name": context.policy_name,
        "version": context.policy_version,
        "digest": context.policy_digest,
    }
    try:
        known = load_policy(f"{context.policy_name}/{context.policy_version}")
    except ServiceError:
        return policy
    if known.digest != context.policy_digest:
        return policy
    return {**policy, "document": known.document}


def _figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    names = ("name", "title", "alt", "sha256", "media_type", "table")
    return {name: figure.get(name) for name in names}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
