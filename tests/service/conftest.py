"""A realistic report: ten digits, one class erased by the first rung after one failed try."""

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from service.ledger.report_context import (
    LogPosition,
    ReferenceFacts,
    ReportContext,
    ResidualCopy,
    SubjectFacts,
    VersionFacts,
)
from service.policies import load_policy

FIGURE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 240"><rect width="600" height="240" '
    b'fill="#fff"/><g fill="#0072b2"><circle cx="150" cy="120" r="40"/></g><g fill="#e69f00">'
    b'<circle cx="420" cy="90" r="30"/></g></svg>'
)
REQUEST_ID = uuid.UUID("019a0c4e-7d12-7c3a-9f01-2b6d8f4e1a10")


def _hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _metric(
    name: str, label: str, values: tuple[float, float, float, float], *, gated: bool = False
) -> dict[str, Any]:
    original, candidate, mean, sd = values
    return {
        "name": name,
        "label": label,
        "n": 130,
        "original": original,
        "candidate": candidate,
        "references": {"mean": mean, "sd": sd, "n": 19, "min": mean - 2 * sd, "max": mean + 2 * sd},
        "interval": [candidate - sd, candidate + sd],
        "interval_note": None,
        "gated": gated,
        "note": None,
    }


def _part() -> dict[str, Any]:
    metrics = [
        _metric("accuracy.forget", "Accuracy on the forget set", (0.997, 0.0, 0.0, 0.001)),
        _metric("accuracy.retain", "Accuracy on the retain set", (0.998, 0.996, 0.997, 0.001)),
        _metric("da", "Dimensional alignment", (0.31, 0.883, 0.872, 0.021), gated=True),
        _metric("log_rho", "Feature energy (log)", (0.92, -0.11, -0.09, 0.06), gated=True),
        _metric("nmi", "Clustering agreement (NMI)", (0.941, 0.872, 0.868, 0.012), gated=True),
        _metric("ncc.forgotten", "Nearest class centre", (0.98, 0.71, 0.69, 0.04), gated=True),
        _metric("probe.forgotten", "Linear probe, forgotten class", (0.99, 0.93, 0.94, 0.02)),
        _metric("relearn.steps", "Relearning steps", (3.0, 31.0, 33.2, 4.1)),
    ]
    metrics[-1] |= {"interval": None, "interval_note": "one batch seed", "note": "capped at 100"}
    names = ("untouched", "head_masked", "head_refitted", "channels_rescaled")
    return {
        "scope": "class",
        "n": 130,
        "verdict": "PASS",
        "direction": None,
        "influence": {"value": 0.02, "lower": -0.13, "upper": 0.17, "confidence": 0.95},
        "reasons": ["The joint test does not reject the new model, and its influence is small."],
        "joint_test": {
            "statistic": 7.31,
            "rank": 9,
            "n": 19,
            "p_value": 0.45,
            "rejected": False,
            "gates": ["da", "log_rho", "nmi", "ncc.forgotten"],
            "dropped": [],
        },
        "self_controls": [
            {
                "name": name,
                "rejected": True,
                "influence": {"value": value, "lower": value - 0.1, "upper": value + 0.1},
                "ok": True,
            }
            for name, value in zip(names, (1.0, 1.0, 0.97, 1.0), strict=True)
        ],
        "metrics": metrics,
    }


@pytest.fixture
def audit_result() -> dict[str, Any]:
    """An AuditResult as the worker hands it over (contract §4)."""
    part = _part()
    references = {"mean": 0.962, "sd": 0.006, "n": 19, "min": 0.95, "max": 0.97}
    usable = {"candidate": 0.957, "original": 0.969, "references": references, "limit": 0.93}
    collateral = [
        {"class": str(d), "n": 50, "original": 0.97, "candidate": 0.965, "references": references}
        for d in range(9)
    ]
    agreement = {"original": 0.998, "references_mean": 0.997, "difference": 0.001}
    return {
        "scope": "class",
        "verdict": "PASS",
        "direction": None,
        "influence": part["influence"],
        "reasons": part["reasons"],
        "policy": {
            "name": "standard",
            "version": load_policy("standard").version,
            "digest": load_policy("standard").digest,
        },
        "look": 1,
        "num_references": 19,
        "counts": {"forget": 130, "retain": 1167, "holdout": 500, "erased": 130},
        "forgotten_classes": [9],
        "parts": [part],
        "utility": {
            "ok": True,
            "holdout_retained": {**usable, "ok": True},
            "worst_class": {**usable, "class": 8, "ok": True},
        },
        "fidelity": {"ok": True, "retain": agreement, "holdout": agreement, "margin": 0.02},
        "collateral": collateral,
        "curves": {"relearning": None},
    }


def _tries() -> tuple[dict[str, Any], ...]:
    failed = {"value": 0.61, "lower": 0.44, "upper": 0.78, "confidence": 0.95}
    passed = {"value": 0.02, "lower": -0.13, "upper": 0.17, "confidence": 0.95}
    shared = {"look": 1, "retrain_ratio_with_references": 19.4}
    first = {"rung": 0, "method": "muda", "seconds": 3.1, "retrain_ratio": 0.14}
    second = {"rung": 1, "method": "distilled_recovery", "seconds": 8.2, "retrain_ratio": 0.37}
    own = str(REQUEST_ID)
    return (
        {**first, **shared, "audits": {own: {"verdict": "FAIL", "influence": failed}}},
        {**second, **shared, "audits": {own: {"verdict": "PASS", "influence": passed}}},
    )


def _figures() -> tuple[dict[str, Any], ...]:
    table = {"columns": ["steps", "new"], "rows": [[0, 0.0], [10, 0.21], [31, 0.52]]}
    figure = {
        "name": "relearning",
        "title": "How fast the class is learnt again",
        "alt": "Accuracy over relearning steps: the new model needs as many as the references.",
        "sha256": hashlib.sha256(FIGURE).hexdigest(),
        "media_type": "image/svg+xml",
        "uri": "sha256/" + "ab/" + "ab" * 32,
        "table": table,
    }
    return (figure,)


def _copies() -> tuple[ResidualCopy, ...]:
    until = "2026-12-23T00:00:00Z"
    where = "storage"
    return (
        ResidualCopy(
            what="version", name="1", digest=_hex("v1"), where=where, contains=True, until=None
        ),
        ResidualCopy(
            what="candidate", name="muda", digest=_hex("c"), where=where, contains=True, until=until
        ),
        ResidualCopy(
            what="reference",
            name="1000",
            digest=_hex("r"),
            where=where,
            contains=False,
            until=until,
        ),
    )


def _method() -> dict[str, Any]:
    return {
        "name": "distilled_recovery",
        "version": "1",
        "hyperparameters": {"epochs": 8, "peak_lr": 0.1, "perturbation": "transposed"},
        "seed": 42,
        "seconds": 8.2,
        "environment": {"torch": "2.14.1"},
    }


@pytest.fixture
def subject_facts() -> SubjectFacts:
    """The facts of a request that was closed in time."""
    return SubjectFacts(
        kind="deletion_request",
        id=REQUEST_ID,
        subject_request_id="DSR-2026-1182",
        label=None,
        regulation="gdpr",
        submitted_time=datetime(2026, 11, 17, 9, 5, tzinfo=UTC),
        received_at=datetime(2026, 11, 19, 14, 30, tzinfo=UTC),
        due_at=datetime(2026, 12, 17, 9, 5, tzinfo=UTC),
        due_rule="one_calendar_month",
        closed_at=datetime(2026, 11, 23, 8, 41, tzinfo=UTC),
        num_samples=130,
        commitment_root=_hex("root"),
        scope="class",
    )


@pytest.fixture
def report_context(audit_result: dict[str, Any], subject_facts: SubjectFacts) -> ReportContext:
    """Everything that the ledger knows when it closes that request."""
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    return ReportContext(
        tenant_id=uuid.UUID(int=1),
        subject=subject_facts,
        run_id=uuid.UUID(int=2),
        model_id=uuid.UUID(int=3),
        model_name="digits-classifier",
        architecture="expunge:small_cnn",
        dataset_id=uuid.UUID(int=4),
        dataset_name="digits",
        fingerprint_before=_hex("data"),
        retain_digest=_hex("retain"),
        num_train=1297,
        num_holdout=500,
        num_retain=1167,
        num_erased=130,
        base=VersionFacts(number=1, sha256=_hex("v1"), created_at=moment, state="superseded"),
        candidate=VersionFacts(number=2, sha256=_hex("v2"), created_at=moment, state="current"),
        promoted=True,
        method=_method(),
        ladder=("muda", "distilled_recovery", "retrain"),
        audit_level="references",
        tries=_tries(),
        references=tuple(
            ReferenceFacts(seed=1000 + i, sha256=_hex(f"ref{i}"), seconds=22.0) for i in range(19)
        ),
        recipe={"epochs": 25, "batch_size": 128, "peak_lr": 0.1},
        recipe_digest=_hex("recipe"),
        policy_name="standard",
        policy_version=load_policy("standard").version,
        policy_digest=load_policy("standard").digest,
        audit=audit_result,
        verdict="PASS",
        figures=_figures(),
        environment={"torch": "2.14.1", "python": "3.11.9", "device": "cpu", "expunge": "0.1.0"},
        residual_copies=_copies(),
        log=LogPosition(seq=57, hash=_hex("log")),
    )


@pytest.fixture
def figure_bytes() -> bytes:
    """The content of the context's only figure."""
    return FIGURE
