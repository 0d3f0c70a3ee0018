"""Measure one model: one pass over R, H and E, then every figure of every part."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from unlearning.audit import measure_parts
from unlearning.audit.measurement import Measurement
from unlearning.audit.observation import Observation, Samples
from unlearning.metrics.accuracy import Accuracy, accuracy, per_class, recognised
from unlearning.metrics.calibration import calibration_error
from unlearning.metrics.effective_rank import retain_rank
from unlearning.metrics.standardise import silent_channels

SHARED = "shared"


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
    model: nn.Module, samples: Samples, parts: Mapping[str, Part], *, intervals: bool = True
) -> dict[str, Measurement]:
    """Return one measurement per part, and under ``SHARED`` the model's figures on R and H.

    The model is not changed. Where its outputs are not finite, or are not one logit for each class,
    every measurement only says so. Without ``intervals`` those that must be drawn again and again
    are left out: of references only the figures themselves are compared.
    """
    seen = Observation(model, samples, intervals=intervals)
    if seen.failure is not None:
        return {
            key: Measurement(failure=seen.failure, layout=seen.layout) for key in (SHARED, *parts)
        }
    measurements = {SHARED: _measure_shared(seen)}
    for key, part in parts.items():
        measured = Measurement(layout=seen.layout)
        measure_parts.measure_common(measured, seen, part.positions)
        if part.scope == "class":
            measure_parts.measure_classes(measured, seen, part.positions, part.classes)
        else:
            measure_parts.measure_instances(measured, seen, part.positions)
        measurements[key] = measured
    return measurements


def _measure_shared(seen: Observation) -> Measurement:
    measured, samples = Measurement(layout=seen.layout), seen.samples
    known = samples.holdout_retained
    logits, labels = seen.holdout.logits[known], samples.holdout.labels[known]
    measured.note_share(
        "accuracy.retain", partial(accuracy, seen.retain.logits, samples.retain.labels)
    )
    measured.note_share("accuracy.holdout_retained", partial(accuracy, logits, labels))
    shares = per_class(logits, labels)
    for label, share in shares.items():
        measured.note_share(f"accuracy.class.{label}", partial(_identity, share))
    if shares:
        values = [share.value for share in shares.values()]
        measured.tensors["holdout.class_accuracy"] = torch.tensor(values, dtype=torch.float64)
        measured.tensors["holdout.recognised"] = recognised(logits, labels).to(torch.uint8)
    n, channels = len(samples.retain), seen.retain.features.shape[1]
    measured.note("calibration.error", len(known), lambda: calibration_error(logits, labels))
    measured.note("effective_rank.retain", n, lambda: retain_rank(seen.space))
    measured.note("channels.silent", channels, lambda: float(_silent(seen)))
    measured.note("constant", n, lambda: float(seen.constant))
    return measured


def _silent(seen: Observation) -> int:
    return silent_channels(seen.moments, seen.space.scale)


def _identity(share: Accuracy) -> Accuracy:
    return share
