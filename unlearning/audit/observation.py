"""What one model makes of R, H and E, and what several figures share."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from unlearning.data import Images
from unlearning.errors import NotComputable
from unlearning.features import Outputs, extract
from unlearning.metrics.alignment import RetainSpace, retain_space
from unlearning.metrics.clustering import cluster
from unlearning.metrics.confidence import temperature
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale, standardise


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The data that every model of a run is measured on; ``erased`` is all of E."""

    retain: Images
    holdout: Images
    erased: Images
    classifier: str
    num_classes: int
    scale_floor: float = 1e-3
    seed: int = 0

    @cached_property
    def retained_classes(self) -> tuple[int, ...]:
        """Labels with samples in R, rising."""
        return tuple(sorted(set(self.retain.labels.tolist())))

    @cached_property
    def holdout_retained(self) -> Tensor:
        """Positions in H of samples of retained classes."""
        return positions_of(self.holdout.labels, self.retained_classes)


def positions_of(labels: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Return the positions [m] of the labels that are among ``classes``."""
    return torch.isin(labels, torch.tensor(classes, dtype=torch.int64)).nonzero().squeeze(1)


def thin(n: int, limit: int) -> Tensor:
    """Return at most ``limit`` evenly spaced positions of 0 … n − 1."""
    return torch.arange(n) if n <= limit else torch.arange(limit) * n // limit


class Observation:
    """Features and logits of one model on all samples, in one pass over each set."""

    def __init__(self, model: nn.Module, samples: Samples) -> None:
        self.samples = samples
        self.retain = extract(model, samples.retain, samples.classifier)
        self.holdout = extract(model, samples.holdout, samples.classifier)
        self.erased = extract(model, samples.erased, samples.classifier)

    @cached_property
    def failure(self) -> str | None:
        """Why this model cannot be measured at all, in plain words; None when it can."""
        for outputs in (self.retain, self.holdout, self.erased):
            for values in (outputs.features, outputs.logits, outputs.stage_features):
                if values is not None and not torch.isfinite(values.square().sum()):
                    return "its outputs are not finite numbers"
        return None

    @cached_property
    def constant(self) -> bool:
        """Whether the model gives every retain sample the same outputs."""
        return bool((self.retain.logits == self.retain.logits[0]).all())

    @cached_property
    def space(self) -> RetainSpace:
        """The principal axes of the penultimate features of R, standardised."""
        return self._space(self.retain.features)

    @cached_property
    def stage_space(self) -> RetainSpace:
        """The same of the features that the network's last stage is given."""
        if self.retain.stage_features is None:
            raise NotComputable("the network has no earlier stage that could be told")
        return self._space(self.retain.stage_features)

    @cached_property
    def clusters(self) -> Tensor:
        """Cluster of each hold-out sample, as many as the hold-out has classes."""
        count = len(set(self.samples.holdout.labels.tolist()))
        return cluster(self.standardised(self.holdout), count, seed=self.samples.seed)

    @cached_property
    def temperature(self) -> float:
        """Temperature that calibrates the predictions on retained classes of the hold-out."""
        known = self.samples.holdout_retained
        return temperature(self.holdout.logits[known], self.samples.holdout.labels[known])

    def standardised(self, outputs: Outputs, index: Tensor | None = None) -> Tensor:
        """Return penultimate features over their scale on R: [n, d] float32, those of ``index``."""
        features = outputs.features if index is None else outputs.features[index]
        return standardise(features, self.space.scale)

    def _space(self, features: Tensor) -> RetainSpace:
        moments = Moments.of(features)
        return retain_space(moments, channel_scale(moments, self.samples.scale_floor))
