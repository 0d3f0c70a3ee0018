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
    """Return the row of ``relearn.steps`` for original, candidate and references; none without.

    With a censored reference the row has no summary of them: ``censored`` says what is known.
    """
    if len(models) < 2 or any(RELEARNING not in model.values for model in models):
        return []
    original, candidate, *references = models
    capped = [bool(model.values[CENSORED]) for model in models]
    values = [model.values[RELEARNING] for model in references]
    return [
        plain_row(
            RELEARNING,
            n=candidate.counts[RELEARNING],
            original=original.values[RELEARNING],
            candidate=candidate.values[RELEARNING],
            references=None if any(capped[2:]) else summary(values),
            interval_note="one experiment for each model",
            gated=gated,
            note=_WHAT + _marks(capped),
            censored={
                "original": capped[0],
                "candidate": capped[1],
                "references": _known(values, capped[2:]),
            },
        )
    ]


def _known(values: Sequence[float], capped: Sequence[bool]) -> Json:
    """Return what is known of the references' steps though some counts are only lower bounds.

    Smallest and median are exact as long as they lie below the cap; mean, deviation and largest
    have no value.
    """
    ordered = [np.inf if hit else value for value, hit in zip(values, capped, strict=True)] or [
        np.inf
    ]
    smallest, median = min(ordered), float(np.median(ordered))
    return {
        "n": len(values),
        "censored": sum(capped),
        "min": smallest if np.isfinite(smallest) else None,
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
