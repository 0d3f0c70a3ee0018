"""The report's table of figures: original, candidate and references side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from unlearning.audit.gates import PREDICTIONS, matrix, reason_missing, vector
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.audit.result import Json, summary
from unlearning.audit.wording import label
from unlearning.metrics.confidence import gap

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
        "attack.population",
    ),
    "instance": (
        "accuracy.forget",
        "accuracy.retain",
        "accuracy.holdout_retained",
        "rank",
        "normalised_margin",
        "confidence",
        "log_divergence.forget",
        "attack.population",
        "embedding.m4",
        "da",
        "log_rho",
    ),
}
_GAP: Final = ("accuracy.", "da", "probe.", "nmi", "f1", "attack.population")
_NOTES: Final = {
    "attack.population": "a weak attack: a masked model passes it",
    "log_divergence.forget": "unsigned: it does not say whether too little or too much is gone",
    "log_divergence.holdout_forgotten": "unsigned, as the one on the forget set",
    "probe.forgotten": "a retrained model probes high as well: only the distance counts",
    "da": "neither high nor low is good: only the distance to the references counts",
}
_INTERVAL_NOTES: Final = {
    "nmi": "one clustering of the whole hold-out",
    "f1": "one clustering of the whole hold-out",
    "f1.forgotten": "one clustering of the whole hold-out",
    "normalised_margin": "a ratio of means over two sets",
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
    return (*table, *_confidence_gap(compared), *_mean_gap(table))


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
    }
    return row | entries


def _row(name: str, compared: Compared, *, gated: bool) -> Json:
    candidate, source = compared.candidate, PREDICTIONS.get(name, name)
    usable = [model for model in compared.references if reason_missing(model, name) is None]
    interval = candidate.intervals.get(name)
    missing = reason_missing(candidate, name) or reason_missing(compared.original, name)
    count = candidate.counts.get(name)
    if count is None and source in candidate.tensors:
        count = len(candidate.tensors[source])
    return plain_row(
        name,
        n=count,
        original=_value(name, compared.original, usable),
        candidate=_value(name, candidate, usable),
        references=summary(list(matrix((name,), usable)[:, 0])) if len(usable) > 1 else None,
        interval=list(interval) if interval else None,
        interval_note=None if interval else _INTERVAL_NOTES.get(name, "no interval is defined"),
        gated=gated,
        note=missing or _NOTES.get(name),
    )


def _value(name: str, model: Measurement, references: Sequence[Measurement]) -> float | None:
    if reason_missing(model, name) is not None or (name in PREDICTIONS and len(references) < 2):
        return None
    return float(vector((name,), model, references)[0])


def _confidence_gap(compared: Compared) -> list[Json]:
    """Return the mean |difference of p_y| to the references', each reference against the others."""
    models = [compared.original, compared.candidate, *compared.references]
    if len(models) < 4 or any("p_y" not in model.tensors for model in models):
        return []
    original, candidate, *references = (model.tensors["p_y"] for model in models)
    known = torch.stack(references)
    spread = [gap(own, torch.cat([known[:i], known[i + 1 :]])) for i, own in enumerate(references)]
    return [
        plain_row(
            "confidence.gap",
            n=len(candidate),
            original=gap(original, known),
            candidate=gap(candidate, known),
            references=summary(spread),
            interval_note="no interval is defined",
            note="unsigned; zero would be closer than two retrainings are",
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
