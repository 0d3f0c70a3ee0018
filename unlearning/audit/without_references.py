"""The single checks that need no retrained reference, each a plain comparison with the original."""

import math
from dataclasses import dataclass
from typing import Final

from scipy import stats

from unlearning.audit import wording
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.audit.result import Json
from unlearning.audit.utility import RETAINED

HEAD_LIMIT: Final = 0.99
"""From this share of the squared weight change on, the classifier alone is taken to have moved."""
FEATURES: Final = ("da", "log_rho")
_CLASS: Final = "accuracy.class."


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question: ``ok`` False speaks against the candidate, None could not be answered."""

    name: str
    ok: bool | None
    detail: str

    def to_json(self) -> Json:
        """Return the check as JSON values."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail}


def sound_outputs(which: str, measured: Measurement) -> Check:
    """Ask whether a model's outputs are finite and not the same for every image."""
    why = measured.failure
    if why is None and measured.values.get("constant"):
        why = "it gives the same outputs for every image"
    detail = (
        f"The {which}'s outputs are finite and not constant."
        if why is None
        else wording.unmeasurable(f"The {which}", why)
    )
    return Check(name="outputs", ok=why is None, detail=detail)


def head_share(share: float | None, why: str | None) -> Check:
    """Ask whether more than the classifier changed; no change at all is no unlearning either."""
    if share is None:
        detail = f"It cannot be shown that anything but the last layer changed: {why}."
        return Check(name="head_fraction", ok=False, detail=detail)
    ok = share < HEAD_LIMIT
    detail = (
        f"{wording.percent(share)} of the weight change lies in the last layer"
        f"{'' if ok else ': that hides the samples and does not forget them'}."
    )
    return Check(name="head_fraction", ok=ok, detail=detail)


def features_moved(original: Measurement, candidate: Measurement) -> list[Check]:
    """Ask whether da and log ρ of F lie outside the original's bootstrap intervals, both of them.

    A masked, refitted or rescaled copy has the original's standardised features and so its very
    values. The candidate's own interval has no say: a few far samples of a genuine retraining can
    stretch it over everything.
    """
    return [_moved(name, original, candidate) for name in FEATURES]


def _moved(name: str, original: Measurement, candidate: Measurement) -> Check:
    title, span = wording.label(name), original.intervals.get(name)
    if span is None or name not in candidate.values:
        why = original.missing.get(name) or candidate.missing.get(name) or "it has no interval"
        return Check(name=f"{name}_moved", ok=None, detail=f"{title} is not known: {why}.")
    ok = not span[0] <= candidate.values[name] <= span[1]
    detail = (
        f"{title} is {candidate.values[name]:.3f}, before {original.values[name]:.3f}"
        f" [{span[0]:.3f}, {span[1]:.3f}]"
        f"{'' if ok else ': it did not move by more than chance explains'}."
    )
    return Check(name=f"{name}_moved", ok=ok, detail=detail)


def utility_checks(
    original: Measurement, candidate: Measurement, policy: Policy
) -> tuple[Check, ...]:
    """Ask whether retained classes, and the worst of them, are recognised as before."""
    entry = utility_entry(original, candidate, policy)
    overall, worst = entry["holdout_retained"], entry["worst_class"]
    if overall is None:
        detail = "The hold-out has no sample of a retained class, so utility is not known."
        return (Check(name="utility", ok=None, detail=detail),)
    checks = [Check(name="utility", ok=overall["ok"], detail=_told("retained classes", overall))]
    if worst is not None:
        told = _told(f"class {worst['class']}, which lost most", worst)
        checks.append(Check(name="utility_worst_class", ok=worst["ok"], detail=told))
    return tuple(checks)


def _told(what: str, row: Json) -> str:
    return (
        f"The candidate recognises {row['candidate']:.1%} of the hold-out of {what}; the original"
        f" {row['original']:.1%}, and at least {row['limit']:.1%} is asked for."
    )


def utility_entry(original: Measurement, candidate: Measurement, policy: Policy) -> Json:
    """Return the ``utility`` entry of a result, with the original in the references' place.

    A limit is the original's accuracy less the policy's margin and what the numbers of samples
    cannot tell apart: the normal quantile at the policy's confidence of the difference of two
    shares, taken as independent. Over K classes the quantile is at 1 − (1 − confidence) / K.
    """
    before, after = original.values.get(RETAINED), candidate.values.get(RETAINED, 0.0)
    if before is None:
        return {"ok": False, "holdout_retained": None, "worst_class": None}
    n = original.counts[RETAINED]
    overall = _row(before, after, n, policy.utility_margin, policy.confidence)
    rows = []
    names = [name for name in original.values if name.startswith(_CLASS)]
    for name in names:
        level = 1 - (1 - policy.confidence) / len(names)
        own = candidate.values.get(name, 0.0)
        row = _row(original.values[name], own, original.counts[name], policy.utility_margin, level)
        rows.append({"class": int(name.removeprefix(_CLASS)), **row})
    worst = min(rows, key=lambda row: row["candidate"] - row["limit"]) if rows else None
    ok = overall["ok"] and (worst is None or worst["ok"])
    return {"ok": ok, "holdout_retained": overall, "worst_class": worst}


def _row(before: float, after: float, n: int, margin: float, level: float) -> Json:
    variance = (before * (1 - before) + after * (1 - after)) / n
    limit = before - margin - float(stats.norm.ppf(level)) * math.sqrt(variance)
    return {
        "candidate": after,
        "original": before,
        "references": None,
        "limit": limit,
        # rounding: a difference of exactly the limit is still within it
        "ok": after >= limit - 1e-9,
    }


def collateral(original: Measurement, candidate: Measurement) -> tuple[Json, ...]:
    """Return hold-out accuracy class by class for every retained class that the hold-out has."""
    return tuple(
        {
            "class": int(name.removeprefix(_CLASS)),
            "n": original.counts[name],
            "original": original.values[name],
            "candidate": candidate.values.get(name),
            "references": None,
        }
        for name in original.values
        if name.startswith(_CLASS)
    )
