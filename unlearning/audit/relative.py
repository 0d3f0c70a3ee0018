"""Figures of one model against the mean of others: a candidate's against the references'.

Each needs only the *mean* of the others, so leaving one of many out costs no second pass over all.
In the joint test every model, the candidate too, is set against all others alike: that keeps the
models exchangeable, which the test's level rests on. So a reference's own figures never come from
a model that saw the samples, and the candidate's come from all references.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from unlearning.audit.measurement import Measurement
from unlearning.errors import NotComputable
from unlearning.metrics import collateral
from unlearning.metrics.confidence import gap
from unlearning.metrics.divergence import divergence, jensen_shannon, log_divergence
from unlearning.metrics.intervals import mean_interval
from unlearning.metrics.rmia import likelihood_ratios, rmia_scores
from unlearning.metrics.tpr import TruePositives, true_positives

Tensors = Sequence[Tensor]
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Relative:
    """A figure computed from a model's tensors and the mean of other models' same tensors."""

    sources: tuple[str, ...]
    compare: Callable[[Tensors, Tensors], float]
    interval: Callable[[Tensors, Tensors], Interval] | None = None
    together: Callable[[Tensors, Tensors], list[float]] | None = None
    """The same as `compare` for a stack of models at once: all tensors have one dimension more."""

    @property
    def counted(self) -> str:
        """The tensor whose length is the figure's number of samples."""
        return self.sources[0]


def _log_divergence(own: Tensors, expected: Tensors) -> float:
    return log_divergence(divergence(own[0], expected[0][None]))


def _log_divergences(own: Tensors, expected: Tensors) -> list[float]:
    count, samples, classes = own[0].shape
    each = jensen_shannon(own[0].reshape(-1, classes), expected[0].reshape(-1, classes))
    return [log_divergence(float(mean)) for mean in each.view(count, samples).mean(dim=1)]


def _rmia(own: Tensors, expected: Tensors) -> Tensor:
    return rmia_scores(own[0], expected[0][None], own[1], expected[1][None])


def _rmia_mean(own: Tensors, expected: Tensors) -> float:
    return float(_rmia(own, expected).mean())


def _rmia_interval(own: Tensors, expected: Tensors) -> Interval:
    lower, upper = mean_interval(_rmia(own, expected))
    return max(0.0, lower), min(1.0, upper)


def _rmia_caught(own: Tensors, expected: Tensors, rate: float = 0.01) -> TruePositives:
    members, strangers = (
        likelihood_ratios(mine, theirs[None]) for mine, theirs in zip(own, expected, strict=True)
    )
    return true_positives(members, strangers, rate)


def _lost(function: Callable[[Tensor, Tensor], float], own: Tensors, expected: Tensors) -> float:
    return function(own[0], expected[0])


RELATIVE: Final = {
    "log_divergence.forget": Relative(
        sources=("predictions.forget",), compare=_log_divergence, together=_log_divergences
    ),
    "log_divergence.holdout_forgotten": Relative(
        sources=("predictions.holdout_forgotten",),
        compare=_log_divergence,
        together=_log_divergences,
    ),
    "attack.rmia": Relative(
        sources=("p_y", "p_y.population"), compare=_rmia_mean, interval=_rmia_interval
    ),
    "attack.rmia.tpr": Relative(
        sources=("p_y", "p_y.population"),
        compare=lambda own, expected: _rmia_caught(own, expected).value,
        interval=lambda own, expected: _rmia_caught(own, expected).interval(),
    ),
    "confidence.gap": Relative(
        sources=("p_y",), compare=lambda own, expected: gap(own[0], expected[0][None])
    ),
    "collateral.worst_class": Relative(
        sources=("holdout.class_accuracy",), compare=partial(_lost, collateral.worst)
    ),
    "collateral.worst_tenth_of_classes": Relative(
        sources=("holdout.class_accuracy",), compare=partial(_lost, collateral.worst_tenth)
    ),
    "collateral.worst_tenth_of_samples": Relative(
        sources=("holdout.recognised",), compare=partial(_lost, collateral.worst_tenth)
    ),
}


def sources_of(name: str) -> tuple[str, ...]:
    """Return what a figure is kept under: the tensors of a relative one, or its own name."""
    return RELATIVE[name].sources if name in RELATIVE else (name,)


def figure(name: str, own: Measurement, others: Sequence[Measurement]) -> float:
    """Return the figure of ``own`` against the mean of ``others``, one at least."""
    relative = RELATIVE[name]
    return relative.compare(_own(relative, own), _mean(relative, others))


def interval(name: str, own: Measurement, others: Sequence[Measurement]) -> Interval | None:
    """Return the interval of the figure over its samples; None where none is defined."""
    relative = RELATIVE[name]
    if relative.interval is None or not others:
        return None
    try:
        return relative.interval(_own(relative, own), _mean(relative, others))
    except NotComputable:
        return None


def left_out(name: str, models: Sequence[Measurement]) -> list[float]:
    """Return each model's figure against the mean of the *other* ones, two models at least."""
    relative, count = RELATIVE[name], len(models)
    if count < 2:
        raise NotComputable("leaving one out needs two models")
    stacks = [_stacked(source, models) for source in relative.sources]
    # Shares and probabilities: what leaves [0, 1] is rounding.
    means = [((stack.sum(dim=0) - stack) / (count - 1)).clamp(0, 1) for stack in stacks]
    if relative.together is not None:
        return relative.together(stacks, means)
    return [
        relative.compare([stack[index] for stack in stacks], [mean[index] for mean in means])
        for index in range(count)
    ]


def _own(relative: Relative, own: Measurement) -> Tensors:
    return [own.tensors[source].double() for source in relative.sources]


def _mean(relative: Relative, others: Sequence[Measurement]) -> Tensors:
    return [_stacked(source, others).mean(dim=0).clamp(0, 1) for source in relative.sources]


def _stacked(source: str, models: Sequence[Measurement]) -> Tensor:
    return torch.stack([model.tensors[source].double() for model in models])
