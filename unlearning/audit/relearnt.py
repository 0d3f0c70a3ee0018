"""Relearning across models: a censored count is marked, and never averaged as if it were exact."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import CENSORED, RELEARNING
from unlearning.audit.result import Json, summary
from unlearning.audit.table import plain_row

_WHAT = "far fewer steps than the references need means hidden, not gone"


def merged(measured: Measurement, relearnt: Measurement) -> Measurement:
    """Return a part's figures with ``relearn.steps`` among them, for a policy that gates on it.

    A censored count stays the cap there: min(steps, cap) is the same function of every model, so
    the joint test, which only ranks, keeps its level.
    """
    return replace(
        measured,
        values=measured.values | relearnt.values,
        counts=measured.counts | relearnt.counts,
        missing=measured.missing | relearnt.missing,
    )


def row(models: Sequence[Measurement], *, gated: bool) -> list[Json]:
    """Return the row of ``relearn.steps`` for original, candidate and references; none without."""
    if len(models) < 2 or any(RELEARNING not in model.values for model in models):
        return []
    original, candidate, *references = models
    capped = [bool(model.values[CENSORED]) for model in models]
    return [
        plain_row(
            RELEARNING,
            n=candidate.counts[RELEARNING],
            original=original.values[RELEARNING],
            candidate=candidate.values[RELEARNING],
            references=_summary(references),
            interval_note="one experiment for each model",
            gated=gated,
            note=_WHAT + _marks(capped),
            censored={
                "original": capped[0],
                "candidate": capped[1],
                "references": sum(capped[2:]),
            },
        )
    ]


def _summary(references: Sequence[Measurement]) -> Json | None:
    """Return the usual summary, or with censored counts only what is known of them.

    Smallest and median are exact as long as they lie below the cap; mean, deviation and largest
    have no value then.
    """
    values = [model.values[RELEARNING] for model in references]
    entry = summary(values)
    if entry is None or not any(model.values[CENSORED] for model in references):
        return entry
    ordered = sorted(
        model.values[RELEARNING] if not model.values[CENSORED] else np.inf for model in references
    )
    smallest, median = ordered[0], float(np.median(ordered))
    return {
        **entry,
        "mean": None,
        "sd": None,
        "min": smallest if np.isfinite(smallest) else None,
        "max": None,
        "median": median if np.isfinite(median) else None,
    }


def _marks(capped: Sequence[bool]) -> str:
    names = ("the original", "the candidate")
    marked = [name for name, hit in zip(names, capped[:2], strict=True) if hit]
    if references := sum(capped[2:]):
        marked.append(f"{references} of {len(capped) - 2} references")
    if not marked:
        return ""
    return f"; stopped at the cap, so at least that many steps: {', '.join(marked)}"
