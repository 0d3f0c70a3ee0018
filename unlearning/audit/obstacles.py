"""What about data and models cannot carry a verdict, whatever the candidate is."""

from collections.abc import Mapping, Sequence
from typing import Final

from unlearning.audit import wording
from unlearning.audit.measurement import Measurement

MOST_OVERLAP: Final = 0.01
"""Share of the hold-out that may occur among the training images, as data sets have by nature."""
MOST_RECALL: Final = 0.1
"""Share of a forgotten class that a model recognises which surely was trained on it."""


def obstacles_of(
    *,
    counts: Mapping[str, int],
    missing_classes: Sequence[int],
    original: Measurement,
    candidate: Measurement,
    references: Sequence[Measurement],
    recalled: Sequence[Measurement],
) -> tuple[str, ...]:
    """Return plain sentences, each enough for INCONCLUSIVE; none where a verdict is possible.

    Args:
        counts: of the forget set, retain set, hold-out, and of hold-out images in training.
        missing_classes: forgotten classes that the hold-out lacks.
        original: its figures on R and H.
        candidate: the same.
        references: the same.
        recalled: the references' figures on whole forgotten classes, in the same order.
    """
    reasons = []
    if counts["forget"] > counts["retain"]:
        reasons.append(wording.larger_than_retain(counts["forget"], counts["retain"]))
    if missing_classes:
        reasons.append(wording.missing_from_holdout(missing_classes))
    if counts["overlap"] > MOST_OVERLAP * counts["holdout"]:
        reasons.append(wording.holdout_overlaps(counts["overlap"], counts["holdout"]))
    named = [("The original", original)]
    named += [(f"Reference {number}", entry) for number, entry in enumerate(references, start=1)]
    for name, entry in named:
        if why := _failure(entry):
            reasons.append(wording.unmeasurable(name, why))
    for name, entry in [*named[1:], ("The candidate", candidate)]:
        if original.layout and entry.layout and entry.layout != original.layout:
            reasons.append(wording.other_layout(name))
    for number, entry in enumerate(recalled, start=1):
        lower, _ = entry.intervals.get("accuracy.forget", (0.0, 0.0))
        if lower > MOST_RECALL:
            share = entry.values["accuracy.forget"]
            reasons.append(wording.saw_the_erased(f"Reference {number}", share))
    return tuple(reasons)


def _failure(measured: Measurement) -> str | None:
    if measured.failure is None and measured.values.get("constant"):
        return "it gives the same outputs for every image"
    return measured.failure
