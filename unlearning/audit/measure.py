"""Measure one model: one pass over R, H and E, then every figure of every part."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from unlearning.audit.measurement import Measurement
from unlearning.audit.observation import Observation, Samples, positions_of, thin
from unlearning.errors import NotComputable
from unlearning.features import Outputs
from unlearning.metrics import alignment, clustering, confidence
from unlearning.metrics.accuracy import Accuracy, accuracy, per_class
from unlearning.metrics.attack import PopulationAttack, loss_score, population_attack
from unlearning.metrics.embedding import m4, null_deviation
from unlearning.metrics.intervals import bootstrap_ratio, mean_interval
from unlearning.metrics.moments import Moments
from unlearning.metrics.ncc import fit_centres
from unlearning.metrics.probe import fit_probe

SHARED = "shared"
POINTS = 400
SPECTRUM = 64
_PROBE_ROWS = 20_000
_NEIGHBOUR_ROWS = 5_000
_PREDICTIONS = 100_000


@dataclass(frozen=True, kw_only=True)
class Part:
    """Whole classes, or single samples, of a forget set: ``positions`` [n] in E, rising."""

    scope: str
    positions: Tensor
    classes: tuple[int, ...]
    """The labels of these samples; in class scope none of them is left in R."""


def split_parts(samples: Samples, positions: Tensor) -> list[Part]:
    """Split positions in E into whole classes (no sample left in R) and single samples."""
    labels = samples.erased.labels[positions]
    whole = ~torch.isin(labels, torch.tensor(samples.retained_classes, dtype=torch.int64))
    parts = []
    for scope, members in (("class", whole), ("instance", ~whole)):
        if members.any():
            chosen = positions[members].sort().values
            classes = tuple(sorted(set(labels[members].tolist())))
            parts.append(Part(scope=scope, positions=chosen, classes=classes))
    return parts


def measure(
    model: nn.Module, samples: Samples, parts: Mapping[str, Part]
) -> dict[str, Measurement]:
    """Return one measurement per part, and under ``SHARED`` the model's figures on R and H.

    The model is not changed. Where its outputs are not finite every measurement only says so.
    """
    seen = Observation(model, samples)
    if seen.failure is not None:
        return {key: Measurement(failure=seen.failure) for key in (SHARED, *parts)}
    measurements = {SHARED: _measure_shared(seen)}
    for key, part in parts.items():
        measured = Measurement()
        _measure_common(measured, seen, part)
        (_measure_classes if part.scope == "class" else _measure_instances)(measured, seen, part)
        measurements[key] = measured
    return measurements


def _measure_shared(seen: Observation) -> Measurement:
    measured, samples = Measurement(), seen.samples
    known = samples.holdout_retained
    logits, labels = seen.holdout.logits[known], samples.holdout.labels[known]
    measured.note_share(
        "accuracy.retain", partial(accuracy, seen.retain.logits, samples.retain.labels)
    )
    measured.note_share("accuracy.holdout_retained", partial(accuracy, logits, labels))
    for label, share in per_class(logits, labels).items():
        measured.note_share(f"accuracy.class.{label}", partial(_identity, share))
    measured.note("constant", len(samples.retain), lambda: float(seen.constant))
    return measured


def _identity(share: Accuracy) -> Accuracy:
    return share


def _measure_common(measured: Measurement, seen: Observation, part: Part) -> None:
    """Note what both scopes report: accuracy, alignment, energy, attack, spectra, points."""
    index, n = part.positions, len(part.positions)
    logits, labels = seen.erased.logits[index], seen.samples.erased.labels[index]
    measured.note_share("accuracy.forget", partial(accuracy, logits, labels))
    _note_geometry(measured, seen, seen.erased.features[index], "")
    attack = partial(_attack, seen, logits, labels)
    measured.note("attack.population", n, lambda: attack().auc, lambda: _attack_interval(attack()))
    moments = Moments.of(seen.erased.features[index])
    measured.note_tensor("spectrum.retain", lambda: seen.space.eigenvalues[:SPECTRUM])
    measured.note_tensor(
        "spectrum.forget", lambda: alignment.forget_spectrum(seen.space, moments)[:SPECTRUM]
    )
    measured.note_tensor("points.retain", lambda: _points(seen, seen.retain, None))
    measured.note_tensor("points.forget", lambda: _points(seen, seen.erased, index))


def _measure_classes(measured: Measurement, seen: Observation, part: Part) -> None:
    samples, index = seen.samples, part.positions
    unseen = positions_of(samples.holdout.labels, part.classes)
    logits, labels = seen.holdout.logits[unseen], samples.holdout.labels[unseen]
    measured.note_share("accuracy.holdout_forgotten", partial(accuracy, logits, labels))
    _note_geometry(measured, seen, seen.holdout.features[unseen], ".holdout_forgotten")
    _note_stage(measured, seen, part)
    _note_readout(measured, seen, part, unseen)
    holdout, count = samples.holdout.labels, len(samples.holdout)
    measured.note("nmi", count, lambda: clustering.nmi(seen.clusters, holdout))
    measured.note("f1", count, lambda: clustering.pairwise_f1(seen.clusters, holdout))
    measured.note(
        "f1.forgotten",
        len(unseen),
        lambda: clustering.matched_f1(seen.clusters, holdout, part.classes),
    )
    _note_predictions(measured, "predictions.forget", seen.erased.logits[index])
    _note_predictions(measured, "predictions.holdout_forgotten", logits)


def _measure_instances(measured: Measurement, seen: Observation, part: Part) -> None:
    samples, index = seen.samples, part.positions
    n, known = len(index), seen.samples.holdout_retained
    logits, labels = seen.erased.logits[index], samples.erased.labels[index]
    holdout, truth = seen.holdout.logits[known], samples.holdout.labels[known]
    measured.note(
        "rank",
        n,
        lambda: float(confidence.rank(logits, labels, holdout).mean()),
        lambda: mean_interval(confidence.rank(logits, labels, holdout)),
    )
    measured.note(
        "normalised_margin",
        n,
        lambda: confidence.normalised_margin(logits, labels, holdout, truth),
    )
    measured.note_tensor(
        "p_y", lambda: confidence.label_probability(logits, labels, seen.temperature)
    )
    if "p_y" in measured.tensors:
        own = measured.tensors["p_y"]
        measured.note("confidence", n, lambda: float(own.mean()), lambda: mean_interval(own))
        _note_predictions(measured, "predictions.forget", logits / seen.temperature)
    measured.note("embedding.m4", n, lambda: _m4(seen, index), lambda: _m4_interval(seen, index))


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

    measured.note(
        f"da{suffix}",
        n,
        lambda: alignment.da(seen.space, moments, classes),
        lambda: bootstrap_ratio(*spread()),
    )
    measured.note(
        f"log_rho{suffix}", n, lambda: alignment.energy(seen.space, moments), energy_interval
    )


def _note_stage(measured: Measurement, seen: Observation, part: Part) -> None:
    classes = len(seen.samples.retained_classes)
    n = len(part.positions)

    def moments() -> Moments:
        if seen.erased.stage_features is None:
            raise NotComputable("the network has no earlier stage that could be told")
        return Moments.of(seen.erased.stage_features[part.positions])

    measured.note("stage.da", n, lambda: alignment.da(seen.stage_space, moments(), classes))
    measured.note("stage.log_rho", n, lambda: alignment.energy(seen.stage_space, moments()))


def _note_readout(measured: Measurement, seen: Observation, part: Part, unseen: Tensor) -> None:
    """Note what a fresh linear head and the class centres, fitted on F ∪ R, recognise in H."""
    samples, known = seen.samples, seen.samples.holdout_retained
    labels = torch.cat([samples.erased.labels[part.positions], samples.retain.labels])
    try:
        features = torch.cat(
            [seen.standardised(seen.erased, part.positions), seen.standardised(seen.retain)]
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
        for group, index in (("forgotten", unseen), ("retained", known)):
            scores = readout(seen.standardised(seen.holdout, index))
            truth = samples.holdout.labels[index]
            measured.note_share(f"{name}.{group}", partial(accuracy, scores, truth))


def _note_predictions(measured: Measurement, name: str, logits: Tensor) -> None:
    """Keep predictions [n, K]: at most ``_PREDICTIONS`` numbers, of evenly spaced samples."""
    if not len(logits):
        measured.missing[name] = "the hold-out has no sample of the forgotten classes"
        return
    some = thin(len(logits), max(1, _PREDICTIONS // logits.shape[1]))
    measured.tensors[name] = torch.softmax(logits[some].double(), dim=1).float()


def _attack(seen: Observation, logits: Tensor, labels: Tensor) -> PopulationAttack:
    holdout = seen.samples.holdout.labels
    return population_attack(
        loss_score(logits, labels), labels, loss_score(seen.holdout.logits, holdout), holdout
    )


def _attack_interval(attack: PopulationAttack) -> tuple[float, float]:
    if math.isnan(attack.auc_sd):
        raise NotComputable("one sample on a side has no spread")
    return max(0.0, attack.auc - 1.96 * attack.auc_sd), min(1.0, attack.auc + 1.96 * attack.auc_sd)


def _points(seen: Observation, outputs: Outputs, index: Tensor | None) -> Tensor:
    positions = torch.arange(len(outputs.features)) if index is None else index
    chosen = positions[thin(len(positions), POINTS)]
    return seen.standardised(outputs, chosen) - (seen.space.mean / seen.space.scale).float()


def _m4(seen: Observation, index: Tensor) -> float:
    some = thin(len(seen.retain.features), _NEIGHBOUR_ROWS)
    return m4(seen.standardised(seen.erased, index), seen.standardised(seen.retain, some))


def _m4_interval(seen: Observation, index: Tensor) -> tuple[float, float]:
    value, half = _m4(seen, index), 1.96 * null_deviation(len(index))
    return max(0.0, value - half), min(1.0, value + half)
