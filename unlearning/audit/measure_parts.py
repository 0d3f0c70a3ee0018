"""The figures of one model on one part of a forget set, from what it was seen to do."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Final

import torch
from torch import Tensor

from unlearning.audit.measurement import Measurement
from unlearning.audit.observation import Observation, positions_of, thin
from unlearning.errors import NotComputable
from unlearning.features import Outputs
from unlearning.metrics import alignment, clustering, confidence
from unlearning.metrics.accuracy import accuracy
from unlearning.metrics.attack import Matched, loss_score, match_labels, population_attack
from unlearning.metrics.effective_rank import forget_rank
from unlearning.metrics.embedding import m4, null_deviation
from unlearning.metrics.intervals import bootstrap_ratio, mean_interval
from unlearning.metrics.moments import Moments
from unlearning.metrics.ncc import fit_centres
from unlearning.metrics.probe import fit_probe
from unlearning.metrics.roc import roc
from unlearning.metrics.tpr import true_positives

POINTS: Final = 400
SPECTRUM: Final = 64
RATES: Final = {"attack.tpr": 0.01, "attack.tpr.permille": 0.001}
"""Rates of false alarms at which the population attack's true positives are counted."""
_PROBE_ROWS = 20_000
_NEIGHBOUR_ROWS = 5_000
_PREDICTIONS = 100_000


def measure_common(measured: Measurement, seen: Observation, index: Tensor) -> None:
    """Note what both scopes report, for positions ``index`` [n] in E."""
    n, logits, labels = len(index), seen.erased.logits[index], seen.samples.erased.labels[index]
    measured.note_share("accuracy.forget", partial(accuracy, logits, labels))
    _note_geometry(measured, seen, seen.erased.features[index], "")
    _note_attacks(measured, seen, logits, labels)
    _note_confidence(measured, seen, logits, labels)
    moments = Moments.of(seen.erased.features[index])
    measured.note("effective_rank.forget", n, lambda: forget_rank(seen.space, moments))
    measured.note_tensor("spectrum.retain", lambda: seen.space.eigenvalues[:SPECTRUM])
    measured.note_tensor(
        "spectrum.forget", lambda: alignment.forget_spectrum(seen.space, moments)[:SPECTRUM]
    )
    measured.note_tensor("sweep", lambda: alignment.sweep(seen.space, moments)[:SPECTRUM])
    measured.note_tensor("points.retain", lambda: _points(seen, seen.retain, None))
    measured.note_tensor("points.forget", lambda: _points(seen, seen.erased, index))


def measure_classes(
    measured: Measurement, seen: Observation, index: Tensor, classes: tuple[int, ...]
) -> None:
    """Note what is known of whole classes, in features as well as in outputs."""
    samples = seen.samples
    unseen = positions_of(samples.holdout.labels, classes)
    logits, labels = seen.holdout.logits[unseen], samples.holdout.labels[unseen]
    measured.note_share("accuracy.holdout_forgotten", partial(accuracy, logits, labels))
    _note_geometry(measured, seen, seen.holdout.features[unseen], ".holdout_forgotten")
    _note_stage(measured, seen, index)
    _note_readout(measured, seen, index, unseen)
    holdout, count = samples.holdout.labels, len(samples.holdout)
    measured.note("nmi", count, lambda: clustering.nmi(seen.clusters, holdout))
    measured.note("f1", count, lambda: clustering.pairwise_f1(seen.clusters, holdout))
    measured.note(
        "f1.forgotten",
        len(unseen),
        lambda: clustering.matched_f1(seen.clusters, holdout, classes),
    )
    _note_predictions(measured, "predictions.forget", seen.erased.logits[index])
    _note_predictions(measured, "predictions.holdout_forgotten", logits)


def measure_instances(measured: Measurement, seen: Observation, index: Tensor) -> None:
    """Note how sure the model is of single samples, free of its logits' scale."""
    samples, n, known = seen.samples, len(index), seen.samples.holdout_retained
    logits, labels = seen.erased.logits[index], samples.erased.labels[index]
    holdout, truth = seen.holdout.logits[known], samples.holdout.labels[known]
    measured.note(
        "normalised_margin",
        n,
        lambda: confidence.normalised_margin(logits, labels, holdout, truth),
    )
    if "p_y" in measured.tensors:
        _note_predictions(measured, "predictions.forget", logits / seen.temperature)
    closeness = cache(partial(_m4, seen, index))
    half = 1.96 * null_deviation(n)
    measured.note(
        "embedding.m4",
        n,
        closeness,
        lambda: (max(0.0, closeness() - half), min(1.0, closeness() + half)),
    )


def _note_confidence(
    measured: Measurement, seen: Observation, logits: Tensor, labels: Tensor
) -> None:
    """Note the rank of the forget margins, and p_y of F and of the population for RMIA."""
    n, known = len(labels), seen.samples.holdout_retained
    ranks = cache(lambda: confidence.rank(logits, labels, seen.holdout.logits[known]))
    measured.note("rank", n, lambda: float(ranks().mean()), lambda: mean_interval(ranks()))
    measured.note_tensor(
        "p_y", lambda: confidence.label_probability(logits, labels, seen.temperature)
    )
    people, truth = seen.samples.population, seen.samples.holdout.labels
    measured.note_tensor(
        "p_y.population",
        lambda: confidence.label_probability(
            seen.holdout.logits[people], truth[people], seen.temperature
        ),
    )
    if "p_y" in measured.tensors:
        own = measured.tensors["p_y"]
        measured.note("confidence", n, lambda: float(own.mean()), lambda: mean_interval(own))


def _note_attacks(measured: Measurement, seen: Observation, logits: Tensor, labels: Tensor) -> None:
    """Note the loss attack of F against hold-out samples of the same labels."""
    truth, n = seen.samples.holdout.labels, len(labels)

    def scores() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return loss_score(logits, labels), labels, loss_score(seen.holdout.logits, truth), truth

    attack = cache(lambda: population_attack(*scores()))
    matched: Callable[[], Matched] = cache(lambda: match_labels(*scores()))

    def interval() -> tuple[float, float]:
        auc, sd = attack().auc, attack().auc_sd
        if math.isnan(sd):
            raise NotComputable("one sample on a side has no spread")
        return max(0.0, auc - 1.96 * sd), min(1.0, auc + 1.96 * sd)

    measured.note("attack.population", n, lambda: attack().auc, interval)
    measured.note_tensor(
        "roc", lambda: roc(matched().members, matched().negatives, matched().weights)
    )
    for name, rate in RATES.items():
        caught = cache(
            lambda rate=rate: true_positives(
                matched().members, matched().negatives, rate, matched().weights
            )
        )
        measured.note(
            name,
            n,
            lambda caught=caught: float(caught().value),  # type: ignore[misc]
            lambda caught=caught: caught().interval(),  # type: ignore[misc]
        )


def _note_geometry(measured: Measurement, seen: Observation, features: Tensor, suffix: str) -> None:
    """Note da and log ρ of raw penultimate features, with bootstrap intervals."""
    classes = len(seen.samples.retained_classes)
    moments, n = Moments.of(features), len(features)

    def spread() -> tuple[Tensor, Tensor]:
        k = alignment.alignment_rank(seen.space, classes)
        return alignment.sample_spread(seen.space, features, k)

    def energy_interval() -> tuple[float, float]:
        _, whole = alignment.sample_spread(seen.space, features, 1)
        trace = torch.full_like(whole, float(seen.space.eigenvalues.sum()))
        lower, upper = bootstrap_ratio(whole, trace)
        return math.log(max(lower, 1e-12)), math.log(max(upper, 1e-12))

    redrawn = seen.intervals
    measured.note(
        f"da{suffix}",
        n,
        lambda: alignment.da(seen.space, moments, classes),
        (lambda: bootstrap_ratio(*spread())) if redrawn else None,
    )
    measured.note(
        f"log_rho{suffix}",
        n,
        lambda: alignment.energy(seen.space, moments),
        energy_interval if redrawn else None,
    )


def _note_stage(measured: Measurement, seen: Observation, index: Tensor) -> None:
    classes = len(seen.samples.retained_classes)
    n = len(index)

    def moments() -> Moments:
        if seen.erased.stage_features is None:
            raise NotComputable("the network has no earlier stage that could be told")
        return Moments.of(seen.erased.stage_features[index])

    measured.note("stage.da", n, lambda: alignment.da(seen.stage_space, moments(), classes))
    measured.note("stage.log_rho", n, lambda: alignment.energy(seen.stage_space, moments()))


def _note_readout(measured: Measurement, seen: Observation, index: Tensor, unseen: Tensor) -> None:
    """Note what a fresh linear head and the class centres, fitted on F ∪ R, recognise in H."""
    samples, known = seen.samples, seen.samples.holdout_retained
    labels = torch.cat([samples.erased.labels[index], samples.retain.labels])
    try:
        features = torch.cat(
            [seen.standardised(seen.erased, index), seen.standardised(seen.retain)]
        )
        some = thin(len(labels), _PROBE_ROWS)
        readouts: dict[str, Callable[[Tensor], Tensor]] = {
            "probe": fit_probe(features[some], labels[some], samples.num_classes),
            "ncc": fit_centres(features, labels, samples.num_classes),
        }
    except NotComputable as error:
        for name in ("probe", "ncc"):
            measured.missing |= {
                f"{name}.{group}": error.reason for group in ("forgotten", "retained")
            }
        return
    for name, readout in readouts.items():
        for group, where in (("forgotten", unseen), ("retained", known)):
            scores = readout(seen.standardised(seen.holdout, where))
            truth = samples.holdout.labels[where]
            measured.note_share(f"{name}.{group}", partial(accuracy, scores, truth))


def _note_predictions(measured: Measurement, name: str, logits: Tensor) -> None:
    """Keep predictions [n, K]: at most ``_PREDICTIONS`` numbers, of evenly spaced samples."""
    if not len(logits):
        measured.missing[name] = "the hold-out has no sample of the forgotten classes"
        return
    some = thin(len(logits), max(1, _PREDICTIONS // logits.shape[1]))
    measured.tensors[name] = torch.softmax(logits[some].double(), dim=1).float()


def _m4(seen: Observation, index: Tensor) -> float:
    some = thin(len(seen.retain.features), _NEIGHBOUR_ROWS)
    return m4(seen.standardised(seen.erased, index), seen.standardised(seen.retain, some))


def _points(seen: Observation, outputs: Outputs, index: Tensor | None) -> Tensor:
    positions = torch.arange(len(outputs.features)) if index is None else index
    chosen = positions[thin(len(positions), POINTS)]
    return seen.standardised(outputs, chosen) - (seen.space.mean / seen.space.scale).float()
