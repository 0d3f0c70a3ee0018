"""What children of made-up workers answer, and what a made-up signer signs."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from service.ledger import Claim, ReportContext, SignedReport
from service.tables import JobKind

Verdict = str | Callable[[str], str]
ENVIRONMENT = {"torch": "2", "python": "3.11", "platform": "x", "device": "cpu", "expunge": "0"}


def digest(text: str) -> str:
    """Return 64 hex digits that stand for some content."""
    return hashlib.sha256(text.encode()).hexdigest()


def key(name: str) -> str:
    """Return the storage key of made-up content."""
    return f"sha256/{digest(name)[:2]}/{digest(name)}"


def publish(context: ReportContext) -> SignedReport:
    """Sign nothing, but keep the context's gist."""
    envelope = f"{context.subject.id} {context.verdict}".encode()
    statement = {"verdict": context.verdict, "log": context.log.seq}
    return SignedReport(envelope, hashlib.sha256(envelope).hexdigest(), statement)


def answer(spec: dict[str, Any], claim: Claim, verdict: Verdict) -> dict[str, Any]:
    """Return the result that a child would give, with its artifacts published."""
    if claim.kind == JobKind.CHECK:
        result = {"classifier": "head", "num_parameters": 10, "feature_dim": 4}
        return {**result, "artifacts": {}, "environment": ENVIRONMENT}
    if claim.kind == JobKind.REFERENCE:
        made = [
            {"seed": seed, "artifact": f"reference-{seed}", "seconds": 2.0}
            for seed in spec["seeds"]
        ]
        names = [entry["artifact"] for entry in made]
        artifacts = _artifacts(names, f"{claim.job_id}-{claim.attempt}")
        return {"references": made, "artifacts": artifacts, "environment": ENVIRONMENT}
    if claim.kind == JobKind.UNLEARN:
        return {
            "artifact": "candidate",
            "seconds": 1.0,
            "method": {"name": spec["method"], "version": "1", "hyperparameters": {}}
            | ({"targets": "pool"} if "pool_key" in spec else {}),
            "seed": spec["seed"],
            "artifacts": _artifacts(["candidate"], f"{claim.job_id}-{claim.attempt}"),
            "environment": ENVIRONMENT,
        }
    if claim.kind == JobKind.POOL:
        return pool_answer(spec, claim)
    if claim.kind == JobKind.TRIAL:
        return trial_answer(
            spec, str(verdict(spec["trial_kind"]) if callable(verdict) else verdict)
        )
    decide = verdict if callable(verdict) else lambda _: str(verdict)
    verdicts = {key: decide(key) for key in spec["forget_sets"]}
    clean = {key: value == "PASS" for key, value in verdicts.items()}
    return audit_answer(verdicts) if spec["level"] == "references" else checked_answer(clean)


def pool_answer(spec: dict[str, Any], claim: Claim) -> dict[str, Any]:
    """Return the result of a pool's training."""
    mean = {"mean": 0.5, "interval": None}
    counts = {"models": 10, "rounds": 1, "trained_on": 12, "groups": 6, "seed": spec["seed"]}
    triage = {"n": 1, "memorised": mean, "recognised": mean}
    return {
        "pool": counts,
        "triage": dict.fromkeys(spec["forget_sets"], triage),
        "seconds": 9.0,
        "artifacts": _artifacts(["pool"], f"{claim.job_id}-{claim.attempt}"),
        "environment": ENVIRONMENT,
    }


def checked_answer(clean: dict[str, bool], *scopes: str) -> dict[str, Any]:
    """Return the result of reference-free checks: INCONCLUSIVE where they are clean, else FAIL."""
    audits = {}
    for key, ok in clean.items():
        verdict = "INCONCLUSIVE" if ok else "FAIL"
        check = {"name": "outputs", "ok": ok, "detail": "so it is"}
        part = {"verdict": verdict, "reasons": ["so it is"], "checks": [check]}
        parts = [{"scope": scope, **part} for scope in scopes or ("instance",)]
        shared = {"verdict": verdict, "influence": None, "reasons": ["so it is"]}
        audits[key] = {"scope": parts[0]["scope"], "parts": parts, **shared}
    return audit_answer(dict.fromkeys(clean, "")) | {"audits": audits}


def trial_answer(spec: dict[str, Any], verdict: str) -> dict[str, Any]:
    """Return the result of a trial erasure."""
    audit = {"verdict": verdict, "influence": None, "reasons": ["so it is"], "direction": None}
    return {
        "audits": {spec["trial"]: audit},
        "method": {"name": spec["method"], "version": "1", "hyperparameters": {}},
        "seconds": 1.0,
        "references": [
            {"seed": seed, "sha256": digest(str(seed)), "seconds": 2.0}
            for seed in spec["reference_seeds"]
        ],
        "artifacts": {},
        "environment": ENVIRONMENT,
    }


def audit_answer(verdicts: dict[str, str]) -> dict[str, Any]:
    """Return an audit's result with these verdicts by request."""
    figure = {
        "name": "bars",
        "artifact": "bars",
        "title": "Bars",
        "alt": "bars",
        "table": {"columns": ["x"], "rows": [[1]]},
    }
    influence = {"value": 0.1, "lower": 0.0, "upper": 0.2, "confidence": 0.95}
    audits = {
        key: {"scope": "instance", "verdict": verdict, "influence": influence}
        for key, verdict in verdicts.items()
    }
    return {
        "audits": audits,
        "figures": {key: [figure] for key in verdicts},
        "seconds": 1.0,
        "artifacts": _artifacts(["bars"], "audit"),
        "environment": ENVIRONMENT,
    }


def _artifacts(names: Sequence[str], salt: str) -> dict[str, Any]:
    return {
        name: {
            "uri": key(f"{salt}-{name}"),
            "sha256": digest(f"{salt}-{name}"),
            "media_type": "image/svg+xml" if name == "bars" else "application/octet-stream",
            "size": 1,
        }
        for name in names
    }


def in_threads(count: int, work: object) -> list[object]:
    """Run `work` in threads that start together and return what they returned."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        results.append(work())  # type: ignore[operator]

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
