"""Does the candidate still do its work, and did the recipe make the original at all?"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from unlearning.audit.joint import Array
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.audit.result import Json, summary

RETAINED = "accuracy.holdout_retained"
_CLASS = "accuracy.class."


def check_utility(
    original: Measurement,
    candidate: Measurement,
    references: Sequence[Measurement],
    policy: Policy,
) -> Json:
    """Return the ``utility`` entry: hold-out accuracy on retained classes and of the worst class.

    A limit is the references' mean less the policy's margin and the reach of a one-sided
    prediction interval, t·sd·√(1 + 1/n). Of classes that is one test, not one for each: the
    largest shortfall over all classes against the references' own, each from the others' mean.
    A model that could not be measured has no accuracy and is inferior.
    """
    figures = [reference.values[RETAINED] for reference in references]
    own = candidate.values.get(RETAINED, 0.0)
    limit = float(np.mean(figures)) - policy.utility_margin - _reach(figures, policy.confidence)
    overall = {
        "candidate": own,
        "original": original.values.get(RETAINED),
        "references": summary(figures),
        "limit": limit,
        "ok": own >= limit,
    }
    worst = _worst_class(original, candidate, references, policy)
    return {
        "ok": bool(overall["ok"] and (worst is None or worst["ok"])),
        "holdout_retained": overall,
        "worst_class": worst,
    }


def check_fidelity(original: Measurement, references: Sequence[Measurement], margin: float) -> Json:
    """Return the ``fidelity`` entry: original against the references' mean on R and on H.

    On H only retained classes count, since no reference was shown the forgotten ones.
    """
    entry: Json = {"ok": True, "margin": margin}
    for key, name in (("retain", "accuracy.retain"), ("holdout", RETAINED)):
        mean = float(np.mean([reference.values[name] for reference in references]))
        own = original.values.get(name)
        difference = None if own is None else own - mean
        entry[key] = {"original": own, "references_mean": mean, "difference": difference}
        # rounding: a difference of exactly the margin is still within it
        entry["ok"] &= difference is not None and abs(difference) <= margin + 1e-9
    return entry


def collateral(
    original: Measurement, candidate: Measurement, references: Sequence[Measurement]
) -> tuple[Json, ...]:
    """Return hold-out accuracy class by class for every retained class that the hold-out has."""
    return tuple(
        {
            "class": int(name.removeprefix(_CLASS)),
            "n": references[0].counts[name],
            "original": original.values.get(name),
            "candidate": candidate.values.get(name),
            "references": summary([reference.values[name] for reference in references]),
        }
        for name in _class_names(references)
    )


def _worst_class(
    original: Measurement,
    candidate: Measurement,
    references: Sequence[Measurement],
    policy: Policy,
) -> Json | None:
    names = _class_names(references)
    if not names:
        return None
    table = np.array([[reference.values[name] for name in names] for reference in references])
    own = np.array([candidate.values.get(name, 0.0) for name in names])
    mean, n = table.mean(axis=0), len(table)
    left_out: Array = (mean * n - table) / (n - 1)
    shortfalls = (left_out - table).max(axis=1)
    allowed = float(shortfalls.mean()) + policy.utility_margin
    allowed += _reach(shortfalls, policy.confidence)
    worst = int((mean - own).argmax())
    limit = float(mean[worst]) - allowed
    return {
        "class": int(names[worst].removeprefix(_CLASS)),
        "candidate": float(own[worst]),
        "original": original.values.get(names[worst]),
        "references": summary(list(table[:, worst])),
        "limit": limit,
        "ok": bool(own[worst] >= limit),
    }


def _class_names(references: Sequence[Measurement]) -> list[str]:
    return [name for name in references[0].values if name.startswith(_CLASS)]


def _reach(figures: Sequence[float] | Array, confidence: float) -> float:
    n = len(figures)
    spread = float(np.std(figures, ddof=1))
    return float(stats.t.ppf(confidence, n - 1)) * spread * float(np.sqrt(1 + 1 / n))
