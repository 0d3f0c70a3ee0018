"""What an audit says, in words that a privacy officer understands; and the names of its figures."""

from collections.abc import Sequence
from typing import Final

from unlearning.audit.influence import Influence
from unlearning.audit.joint import JointTest
from unlearning.audit.result import Dropped, Json, SelfControl

LABELS: Final = {
    "accuracy.forget": "Accuracy on the forget set",
    "accuracy.holdout_forgotten": "Accuracy on hold-out samples of the forgotten classes",
    "accuracy.retain": "Accuracy on the retain set",
    "accuracy.holdout_retained": "Accuracy on hold-out samples of retained classes",
    "da": "Dimensional alignment of the forget set",
    "da.holdout_forgotten": "Dimensional alignment of hold-out samples of the forgotten classes",
    "log_rho": "Energy of the forget set (log)",
    "log_rho.holdout_forgotten": "Energy of hold-out samples of the forgotten classes (log)",
    "stage.da": "Dimensional alignment before the last stage",
    "stage.log_rho": "Energy before the last stage (log)",
    "probe.forgotten": "Linear probe, forgotten classes",
    "probe.retained": "Linear probe, retained classes",
    "ncc.forgotten": "Nearest class centre, forgotten classes",
    "ncc.retained": "Nearest class centre, retained classes",
    "nmi": "Clusters against classes (normalised mutual information)",
    "f1": "Clusters against classes (pairwise F1)",
    "f1.forgotten": "Best-matching cluster of the forgotten classes (F1)",
    "log_divergence.forget": "Difference of predictions on the forget set (log divergence)",
    "log_divergence.holdout_forgotten": (
        "Difference of predictions on hold-out samples of the forgotten classes (log divergence)"
    ),
    "rank": "Rank of the forget samples' confidence among the hold-out (logit)",
    "normalised_margin": "Confidence margin over the hold-out's",
    "confidence": "Mean probability of the registered label, calibrated",
    "confidence.gap": "Mean difference of that probability to the references",
    "attack.population": "Membership attack by loss (AUC)",
    "embedding.m4": "Closeness to retain samples in feature space (M4)",
    "relearn.steps": "Steps until the classes are relearnt",
    "weight_change.head_fraction": "Share of the weight change in the classifier",
    "gap": "Mean distance to the references",
}
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
