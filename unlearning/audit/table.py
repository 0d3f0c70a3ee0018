"""The report's table of figures: original, candidate and references side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from unlearning.audit import relative
from unlearning.audit.gates import matrix, reason_missing, vector
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.audit.result import Json, summary
from unlearning.audit.wording import label
from unlearning.errors import NotComputable
from unlearning.metrics.streisand import underconfidence

_EVERYWHERE: Final = (
    "attack.population",
    "attack.tpr",
    "attack.tpr.permille",
    "attack.rmia",
    "attack.rmia.tpr",
    "effective_rank.forget",
    "effective_rank.retain",
    "collateral.worst_class",
    "collateral.worst_tenth_of_classes",
    "collateral.worst_tenth_of_samples",
    "calibration.error",
    "channels.silent",
)
ROWS: Final = {
    "class": (
        "accuracy.forget",
        "accuracy.holdout_forgotten",
        "accuracy.retain",
        "accuracy.holdout_retained",
        "da",
        "da.holdout_forgotten",
        "log_rho",
        "log_rho.holdout_forgotten",
        "stage.da",
        "stage.log_rho",
        "probe.forgotten",
        "probe.retained",
        "ncc.forgotten",
        "ncc.retained",
        "nmi",
        "f1",
        "f1.forgotten",
        "log_divergence.forget",
        "log_divergence.holdout_forgotten",
        "rank",
        *_EVERYWHERE,
    ),
    "instance": (
        "accuracy.forget",
        "accuracy.retain",
        "accuracy.holdout_retained",
        "rank",
        "normalised_margin",
        "confidence",
        "confidence.gap",
        "log_divergence.forget",
        "embedding.m4",
        "da",
        "log_rho",
        *_EVERYWHERE,
    ),
}
_GAP: Final = ("accuracy.", "da", "probe.", "nmi", "f1", "attack.population")
_NOTES: Final = {
    "attack.population": "a weak attack: a masked model passes it",
    "log_divergence.forget": "unsigned: it does not say whether too little or too much is gone",
    "log_divergence.holdout_forgotten": "unsigned, as the one on the forget set",
    "probe.forgotten": "a retrained model probes high as well: only the distance counts",
    "da": "neither high nor low is good: only the distance to the references counts",
    "attack.rmia": "a half is a stranger; each model against those that never saw the samples",
    "attack.tpr": "the loss attack's true positives at 1 % false alarms; a stranger has 1 %",
    "attack.tpr.permille": "the same at .1 % false alarms",
    "attack.rmia.tpr": "true positives of the per-sample attack at 1 % false alarms",
    "confidence.gap": "unsigned; zero would be closer than two retrainings are",
    "calibration.error": "15 equal-width bins; too high for few samples, for all models alike",
    "channels.silent": "channels (nearly) silent on the retain set, whose scale was bounded",
    "collateral.worst_class": "accuracy that the worst class lost; picked after looking",
    "collateral.worst_tenth_of_classes": "the worst class itself where there are ten or fewer",
    "collateral.worst_tenth_of_samples": "mean loss of the tenth that lost most, after looking",
    "effective_rank.forget": "far below the references: collapsed, which can flatter alignment",
}
_INTERVAL_NOTES: Final = {
    "nmi": "one clustering of the whole hold-out",
    "f1": "one clustering of the whole hold-out",
    "f1.forgotten": "one clustering of the whole hold-out",
    "normalised_margin": "a ratio of means over two sets",
    "calibration.error": "biased upwards for few samples, so an interval would mislead",
    "channels.silent": "a count",
}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The measurements of one part (figures on R and H included) that a table is made from."""

    scope: str
    original: Measurement
    candidate: Measurement
    references: Sequence[Measurement]


def rows(compared: Compared, policy: Policy) -> tuple[Json, ...]:
    """Return one row for each figure, missing ones with the reason, then the derived ones."""
    gated = policy.gates.of(compared.scope)
    table = [_row(name, compared, gated=name in gated) for name in ROWS[compared.scope]]
    return (*table, *_streisand(compared, policy), *_mean_gap(table))


def plain_row(name: str, **entries: object) -> Json:
    """Return a row with every key of the contract, empty unless given."""
    row: Json = {
        "name": name,
        "label": label(name),
        "n": None,
        "original": None,
        "candidate": None,
        "references": None,
        "interval": None,
        "interval_note": None,
        "gated": False,
        "note": None,
        "censored": None,
    }
    return row | entries


def _row(name: str, compared: Compared, *, gated: bool) -> Json:
    candidate = compared.candidate
    usable = [model for model in compared.references if reason_missing(model, name) is None]
    missing = reason_missing(candidate, name) or reason_missing(compared.original, name)
    count = candidate.counts.get(name)
    if count is None and name in relative.RELATIVE:
        kept = candidate.tensors.get(relative.RELATIVE[name].counted)
        count = None if kept is None else len(kept)
    values: list[float | None] = [
        _value(name, model, usable) for model in (compared.original, candidate)
    ]
    interval = None if values[1] is None else _interval(name, candidate, usable)
    return plain_row(
        name,
        n=count,
        original=values[0],
        candidate=values[1],
        references=_references(name, usable),
        interval=list(interval) if interval else None,
        interval_note=None if interval else _INTERVAL_NOTES.get(name, "no interval is defined"),
        gated=gated,
        note=missing or _NOTES.get(name),
    )


def _value(name: str, model: Measurement, references: Sequence[Measurement]) -> float | None:
    if reason_missing(model, name) is not None:
        return None
    if name in relative.RELATIVE and len(references) < 2:
        return None
    try:
        return float(vector((name,), model, references)[0])
    except NotComputable:
        return None


def _references(name: str, usable: Sequence[Measurement]) -> Json | None:
    if len(usable) < 2:
        return None
    try:
        return summary(list(matrix((name,), usable)[:, 0]))
    except NotComputable:
        return None


def _interval(
    name: str, candidate: Measurement, references: Sequence[Measurement]
) -> tuple[float, float] | None:
    if name in relative.RELATIVE:
        return relative.interval(name, candidate, references)
    return candidate.intervals.get(name)


def _streisand(compared: Compared, policy: Policy) -> list[Json]:
    """Return how far below the references' the forget set's confidence lies, with its bounds."""
    name, models = "rank", [compared.original, compared.candidate, *compared.references]
    if len(models) < 5 or any(reason_missing(model, name) for model in models):
        return []
    original, candidate, *references = (model.values[name] for model in models)
    own = underconfidence(candidate, references, policy.confidence)
    others = [references[:i] + references[i + 1 :] for i in range(len(references))]
    spread = [
        underconfidence(reference, rest, policy.confidence).value
        for reference, rest in zip(references, others, strict=True)
    ]
    found = "detectably" if own.detectable else "not detectably"
    return [
        plain_row(
            "streisand",
            n=compared.candidate.counts.get(name),
            original=underconfidence(original, references, policy.confidence).value,
            candidate=own.value,
            references=summary(spread),
            interval=[own.lower, own.upper],
            note=f"above zero: less confident than retraining leaves the samples; here {found} so "
            f"(each end a one-sided {policy.confidence:.0%} bound)",
        )
    ]


def _mean_gap(table: Sequence[Json]) -> list[Json]:
    """Return the benchmarks' headline: mean distance to the references' mean over several rows."""
    chosen = [
        row
        for row in table
        if row["name"].startswith(_GAP) and row["references"] and row["candidate"] is not None
    ]
    if not chosen:
        return []

    def mean(key: str) -> float:
        return float(np.mean([abs(row[key] - row["references"]["mean"]) for row in chosen]))

    original = None if any(row["original"] is None for row in chosen) else mean("original")
    return [
        plain_row(
            "gap",
            n=len(chosen),
            original=original,
            candidate=mean("candidate"),
            interval_note="a mean over figures of several kinds",
            note="a headline for benchmarks; it ranks a masked model beside honest ones",
        )
    ]
