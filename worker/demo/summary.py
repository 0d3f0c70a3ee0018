"""What the demo leaves behind, and the promises that it must have kept."""

from collections.abc import Iterator
from typing import Any

Summary = dict[str, Any]

INFLUENCE_LIMIT = 0.33
HIDING_CONTROLS = ("untouched", "head_masked", "head_refitted", "rescaled")
MAX_RETRAINS_FAILED = 1


def request_entry(name: str, report: dict[str, Any]) -> dict[str, Any]:
    """Return one request's part of the summary from the predicate of its signed statement."""
    rungs = [
        {
            "method": attempt["method"],
            "look": attempt["look"],
            "verdict": attempt["verdict"],
            **_influence(attempt["influence"]),
            "seconds": attempt["seconds"],
            "retrain_ratio": attempt["retrain_ratio"],
            "retrain_ratio_with_references": attempt["retrain_ratio_with_references"],
        }
        for attempt in report["tries"]
    ]
    closing = rungs[-1] if rungs else {}
    return {
        "scope": report["scope"],
        "name": name,
        "verdict": report["verdict"],
        "influence": closing.get("influence"),
        "influence_low": closing.get("influence_low"),
        "influence_high": closing.get("influence_high"),
        "untouched_rejected": report["untouched_rejected"],
        "reasons": report["reasons"],
        "rungs": rungs,
    }


def control_entry(report: dict[str, Any]) -> dict[str, Any]:
    """Return one audited control's part of the summary."""
    return {"verdict": report["verdict"], **_influence(report["influence"])}


def _influence(influence: dict[str, float] | None) -> dict[str, float | None]:
    if influence is None:
        return {"influence": None, "influence_low": None, "influence_high": None}
    return {
        "influence": influence["value"],
        "influence_low": influence["lower"],
        "influence_high": influence["upper"],
    }


def broken_promises(summary: Summary) -> list[str]:
    """Return, in words, each promise that this run did not keep; empty when all held."""
    return [*_broken_by_controls(summary["controls"]), *_broken_by_requests(summary["requests"])]


def _broken_by_controls(controls: Summary) -> Iterator[str]:
    for name in HIDING_CONTROLS:
        control = controls[name]
        low = control["influence_low"]
        if control["verdict"] != "FAIL":
            yield f"The control {name} hides what it knows, yet it got {control['verdict']}."
        elif low is None or low <= INFLUENCE_LIMIT:
            yield f"The control {name} failed, but its influence may be as low as {low}."
    failed = sum(retrain["verdict"] == "FAIL" for retrain in controls["retrained"])
    if failed > MAX_RETRAINS_FAILED:
        yield f"{failed} of {len(controls['retrained'])} genuine retrains failed the audit."


def _broken_by_requests(requests: list[Summary]) -> Iterator[str]:
    by_name = {request["name"]: request for request in requests}
    whole_class = by_name["class"]
    if whole_class["verdict"] != "PASS":
        yield f"The class request closed {whole_class['verdict']}, not PASS before retraining."
    mislabelled = by_name["mislabelled"]
    if mislabelled["verdict"] not in {"PASS", "RETRAINED"}:
        yield f"The mislabelled request closed {mislabelled['verdict']}."
    if not mislabelled["untouched_rejected"]:
        yield "The untouched original was not rejected on the mislabelled request."
    for rung in mislabelled["rungs"]:
        high = rung["influence_high"]
        if rung["verdict"] == "PASS" and (high is None or high > INFLUENCE_LIMIT):
            yield f"{rung['method']} passed on the mislabelled request with influence up to {high}."
    if not by_name["random"]["verdict"] or not by_name["random"]["reasons"]:
        yield "The random request closed without a verdict or without a reason."
