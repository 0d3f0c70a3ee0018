"""What an audit says, in words that a privacy officer understands."""

from collections.abc import Sequence
from typing import Final

from unlearning.audit.influence import Influence
from unlearning.audit.joint import JointTest
from unlearning.audit.labels import LABELS
from unlearning.audit.resolution import Resolution
from unlearning.audit.result import Dropped, Json, SelfControl

CONTROLS: Final = {
    "untouched": "the original itself",
    "head_masked": "the original with the forgotten outputs masked",
    "head_refitted": "the original with a new last layer",
    "channels_rescaled": "the original with rescaled features",
}


def label(name: str) -> str:
    """Return the figure's name for people."""
    return LABELS.get(name, name)


def percent(share: float) -> str:
    """Return a share as a whole percentage."""
    return f"{100 * share:.0f} %"


def nothing_to_remove(references: int) -> str:
    """Say that the original already looks like a model that never saw the samples."""
    return (
        "The original model cannot be told from "
        f"{references} models that were retrained without these samples: no influence of them was "
        "detectable before anything was done, so there was nothing to remove."
    )


def too_few_references(found: int, needed: int) -> str:
    """Say how many references are missing."""
    return (
        f"Only {found} retrained references are there and the policy's first look needs {needed}; "
        f"train {needed - found} more."
    )


def too_few_figures(dropped: Sequence[Dropped]) -> str:
    """Say which figures could not be computed."""
    names = "; ".join(f"{label(entry.name)}: {entry.why}" for entry in dropped)
    return f"More than half of the policy's figures could not be computed ({names})."


def no_influence_axis(why: str) -> str:
    """Say why λ has no value."""
    return f"The remaining influence could not be computed: {why}."


def larger_than_retain(forget: int, retain: int) -> str:
    """Say that the references are of another kind of problem."""
    return (
        f"The forget set ({forget} samples) is larger than what is retained ({retain}): retrained "
        "references are no fair comparison then. Retrain the model instead."
    )


def missing_from_holdout(classes: Sequence[int]) -> str:
    """Say which forgotten classes the hold-out lacks."""
    names = ", ".join(map(str, classes))
    return (
        f"The hold-out has no sample of forgotten class {names}, so what the model still knows of "
        "it cannot be measured; add hold-out samples of it."
    )


def holdout_overlaps(overlap: int, holdout: int) -> str:
    """Say that the hold-out was trained on."""
    return (
        f"{overlap} of {holdout} hold-out images are byte for byte among the training images: what "
        "a model does on unseen images cannot be told with them. Register a hold-out without them."
    )


def other_layout(which: str) -> str:
    """Say that a model is of another network than the original."""
    return (
        f"{which} has another architecture than the original (its weights have other names or "
        "shapes), so their figures cannot be compared."
    )


def saw_the_erased(which: str, share: float) -> str:
    """Say that a reference was trained on what it must not have seen."""
    return (
        f"{which} recognises {share:.0%} of the forgotten classes' samples, which a model that "
        "never saw these classes cannot: it was trained on them and is no reference."
    )


def resolution(found: Resolution, n: int, references: int) -> str:
    """Say what difference this audit could have seen at all."""
    samples = "1 sample" if n == 1 else f"{n} samples"
    start = f"With {references} references and {samples}"
    if found.smallest is None:
        return f"{start}, no influence whatever could have been told from chance."
    parts = [f"{start}, the smallest remaining influence that this audit could have seen is"]
    parts.append(f"{percent(found.smallest)} of the original's")
    if found.rejected is None:
        parts.append("(the joint test would not have noticed even four times the original's)")
    if found.smallest > 1:
        parts.append("- more than the original itself has: nothing is resolved here")
    elif not found.resolved:
        parts.append(f"where the policy asks for {percent(found.limit)}")
    return " ".join(parts) + "."


def drift_exceeded(n: int, influence: Influence, limit: float) -> str:
    """Say that too much remains of all erased samples together."""
    return (
        f"Of all {n} samples erased from this data set so far, {_range(influence)} of the "
        f"original's influence remains; the policy allows {percent(limit)}. Small requests add up: "
        "retrain the model."
    )


def drift_open(n: int, influence: Influence, limit: float) -> str:
    """Say that too much may remain of all erased samples together."""
    return (
        f"Of all {n} samples erased from this data set so far, {_range(influence)} of the "
        f"original's influence remains, and up to {percent(limit)} is allowed: it is not sure that "
        "so little is left."
    )


def drift_kept(n: int, influence: Influence, limit: float) -> str:
    """Say that little enough remains of all erased samples together."""
    return (
        f"Of all {n} samples erased from this data set so far, at most "
        f"{percent(max(0.0, influence.upper))} of the original's influence remains "
        f"({percent(limit)} is allowed)."
    )


def drift_unresolved(n: int, why: str) -> str:
    """Say that nothing can be told of all erased samples together."""
    return f"What remains of all {n} erased samples together cannot be told: {why}."


def _range(influence: Influence) -> str:
    return (
        f"{percent(influence.value)} (from {percent(influence.lower)} to "
        f"{percent(influence.upper)})"
    )


def unmeasurable(which: str, why: str) -> str:
    """Say that the original or a reference cannot be measured."""
    return f"{which} cannot be measured: {why}."


def fidelity(entry: Json) -> list[str]:
    """Say where the original differs from models of its own recipe; nothing where it does not."""
    if entry["ok"]:
        return []
    gaps = [
        f"{percent(abs(entry[key]['difference'] or 0))} on the {words}"
        for key, words in (("retain", "retain set"), ("holdout", "hold-out"))
    ]
    text = (
        "The recipe does not reproduce the original model: its accuracy differs from the retrained "
        f"references' by {' and '.join(gaps)}, and {percent(entry['margin'])} is allowed. Register "
        "the recipe that the model was really trained with."
    )
    return [text]


def self_control(
    missed: Sequence[SelfControl], unscored: Sequence[str], next_look: int | None
) -> str:
    """Say which models that forgot nothing went unnoticed, and what would help."""
    names = [CONTROLS.get(name, name) for name in (*(m.name for m in missed), *unscored)]
    help_ = (
        f"A look at {next_look} references may resolve it."
        if next_look
        else "A larger forget set or a full retraining resolves it."
    )
    return (
        "This audit has no power here: it would not surely notice a model that forgot nothing "
        f"({', '.join(names)}). The influence of these samples is too small against the "
        f"differences between retrainings. {help_}"
    )


def utility(entry: Json) -> list[str]:
    """Say where the candidate lost accuracy; nothing where it did not."""
    reasons = []
    overall, worst = entry["holdout_retained"], entry["worst_class"]
    if not overall["ok"]:
        reasons.append(
            f"The candidate recognises {overall['candidate']:.1%} of the hold-out of retained "
            f"classes; a retrained model would not fall below {overall['limit']:.1%}."
        )
    if worst is not None and not worst["ok"]:
        reasons.append(
            f"The candidate lost class {worst['class']}: it recognises {worst['candidate']:.1%} of "
            f"its hold-out; a retrained model would not fall below {worst['limit']:.1%}."
        )
    return reasons


def rejected(test: JointTest, influence: Influence | None, deviating: str) -> str:
    """Say that the candidate is unlike retrained models, and how."""
    text = (
        f"The candidate is less like the {test.n} retrained references than any of them is like "
        f"the others (a genuine retraining would be so with probability 1 in {test.n + 1}); "
        f"it differs most in: {label(deviating)}."
    )
    if influence is None:
        return text
    return (
        f"{text} Remaining influence of the samples: {percent(influence.value)} of the original's "
        f"(from {percent(influence.lower)} to {percent(influence.upper)})."
    )


def candidate_not_measured(why: str) -> str:
    """Say that the candidate lacks figures that the references have."""
    return f"The candidate could not be compared with the references: {why}."


def too_wide(influence: Influence, limit: float, next_look: int | None) -> str:
    """Say that the bound on λ is above the limit though the candidate was not rejected."""
    text = (
        "The candidate is not unlike the retrained references, but up to "
        f"{percent(influence.upper)} of the original's influence may remain and the policy allows "
        f"{percent(limit)}."
    )
    if influence.value > limit:
        return f"{text} The estimate itself is above it: a stronger method or a retraining helps."
    if next_look:
        return f"{text} A look at {next_look} references narrows this bound."
    return f"{text} A larger forget set narrows this bound; a full retraining needs none."


def passed(test: JointTest, influence: Influence) -> str:
    """Say what was found and how sure it is."""
    return (
        f"The candidate is no stranger among {test.n} models retrained without these samples "
        f"(place {test.rank} of {test.n + 1} by distance), and at most "
        f"{percent(max(0.0, influence.upper))} of the original's influence remains "
        f"({percent(influence.confidence)} bound)."
    )
