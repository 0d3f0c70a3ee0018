"""Turn measurements into the vectors that the tests compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from unlearning.audit.joint import Array, JointTest, exact_test
from unlearning.audit.measurement import Measurement
from unlearning.audit.result import Dropped
from unlearning.metrics.divergence import divergence, leave_one_out, log_divergence

PREDICTIONS: Final = {
    "log_divergence.forget": "predictions.forget",
    "log_divergence.holdout_forgotten": "predictions.holdout_forgotten",
}
"""Figures that compare predictions with those of other models, and where these are kept."""
UNAVAILABLE: Final = {
    "instance": (
        Dropped(name="attack.rmia", why="this version of the audit has no per-sample attack yet"),
    ),
    "class": (),
}


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The figures that an audit can compare, and those that it had to drop."""

    kept: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def computable(
    names: Sequence[str], original: Measurement, references: Sequence[Measurement]
) -> Gates:
    """Keep the figures that the original and every reference have; the candidate has no say."""
    kept, dropped = [], []
    for name in names:
        why = next((w for m in (original, *references) if (w := reason_missing(m, name))), None)
        if why is None:
            kept.append(name)
        else:
            dropped.append(Dropped(name=name, why=why))
    return Gates(kept=tuple(kept), dropped=tuple(dropped))


def reason_missing(measured: Measurement, name: str) -> str | None:
    """Return why a measurement lacks a figure; None when it has it."""
    if measured.failure is not None:
        return measured.failure
    source = PREDICTIONS.get(name, name)
    if source in measured.values or source in measured.tensors:
        return None
    return measured.missing.get(source, "this version of the audit does not measure it")


def vector(names: Sequence[str], own: Measurement, others: Sequence[Measurement]) -> Array:
    """Return the model's figures [d]; divergences are from the mean prediction of ``others``."""
    return np.array([_figure(name, own, others) for name in names])


def matrix(names: Sequence[str], models: Sequence[Measurement]) -> Array:
    """Return each model's figures [n, d]; divergences are from the mean of the *other* models."""
    return np.column_stack([_column(name, models) for name in names])


def compare_jointly(
    names: Sequence[str], candidate: Measurement, references: Sequence[Measurement]
) -> JointTest:
    """Test a candidate against references; each model is compared with all others alike."""
    pool = [*references, candidate]

    def view(index: int) -> tuple[Array, Array]:
        others = pool[:index] + pool[index + 1 :]
        return vector(names, pool[index], others), matrix(names, others)

    return exact_test(view, len(pool))


def _figure(name: str, own: Measurement, others: Sequence[Measurement]) -> float:
    if name not in PREDICTIONS:
        return own.values[name]
    kind = PREDICTIONS[name]
    theirs = torch.stack([other.tensors[kind] for other in others])
    return log_divergence(divergence(own.tensors[kind], theirs))


def _column(name: str, models: Sequence[Measurement]) -> list[float]:
    if name not in PREDICTIONS:
        return [model.values[name] for model in models]
    predictions = torch.stack([model.tensors[PREDICTIONS[name]] for model in models])
    return [log_divergence(float(value)) for value in leave_one_out(predictions)]
