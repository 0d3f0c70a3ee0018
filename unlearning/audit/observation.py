"""What one model makes of R, H and E, and what several figures share."""

import hashlib
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
from unlearning.metrics.standardise import FLOOR, channel_scale, level_, standardise
from unlearning.randomness import generator

_POPULATION = 5_000


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The data that every model of a run is measured on; ``erased`` is all of E."""

    retain: Images
    holdout: Images
    erased: Images
    classifier: str
    num_classes: int
    scale_floor: float = FLOOR
    seed: int = 0

    @cached_property
    def retained_classes(self) -> tuple[int, ...]:
        """Labels with samples in R, rising."""
        return tuple(sorted(set(self.retain.labels.tolist())))

    @cached_property
    def holdout_retained(self) -> Tensor:
        """Positions in H of samples of retained classes."""
        return positions_of(self.holdout.labels, self.retained_classes)

    @cached_property
    def population(self) -> Tensor:
        """Positions in H of RMIA's population: at most 5,000 of retained classes, drawn by seed.

        Drawn, not evenly spaced: a hold-out in a cycle of classes would lend only some of them.
        """
        known = self.holdout_retained
        order = torch.randperm(len(known), generator=generator(self.seed, "population"))
        return known[order[:_POPULATION].sort().values]


def positions_of(labels: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Return the positions [m] of the labels that are among ``classes``."""
    return torch.isin(labels, torch.tensor(classes, dtype=torch.int64)).nonzero().squeeze(1)


def thin(n: int, limit: int) -> Tensor:
    """Return at most ``limit`` evenly spaced positions of 0 … n − 1."""
    return torch.arange(n) if n <= limit else torch.arange(limit) * n // limit


class Observation:
    """Features and logits of one model on all samples, in one pass over each set."""

    def __init__(self, model: nn.Module, samples: Samples, *, intervals: bool = True) -> None:
        self.samples = samples
        self.intervals = intervals
        self.layout = layout_of(model)
        self.retain = extract(model, samples.retain, samples.classifier)
        self.holdout = extract(model, samples.holdout, samples.classifier)
        self.erased = extract(model, samples.erased, samples.classifier)
        sets = (self.retain, self.holdout, self.erased)
        level_([outputs.features for outputs in sets])
        if stages := [x for outputs in sets if (x := outputs.stage_features) is not None]:
            level_(stages)

    @cached_property
    def failure(self) -> str | None:
        """Why this model cannot be measured at all, in plain words; None when it can."""
        outputs, wanted = self.retain.logits.shape[1], self.samples.num_classes
        if outputs != wanted:
            return f"it has {outputs} outputs and the model has {wanted} classes"
        for seen in (self.retain, self.holdout, self.erased):
            for values in (seen.features, seen.logits, seen.stage_features):
                if values is not None and not torch.isfinite(values).all():
                    return "its outputs are not finite numbers"
        return None

    @cached_property
    def constant(self) -> bool:
        """Whether the model gives every retain sample the same outputs."""
        return bool((self.retain.logits == self.retain.logits[0]).all())

    @cached_property
    def moments(self) -> Moments:
        """The moments of the penultimate features of R."""
        return Moments.of(self.retain.features)

    @cached_property
    def space(self) -> RetainSpace:
        """The principal axes of the penultimate features of R, standardised."""
        others = torch.cat([self.holdout.features, self.erased.features])
        return self._space(self.moments, others)

    @cached_property
    def stage_space(self) -> RetainSpace:
        """The same of the features that the network's last stage is given."""
        own, *others = (
            outputs.stage_features for outputs in (self.retain, self.holdout, self.erased)
        )
        known = [features for features in others if features is not None]
        if own is None or len(known) < len(others):
            raise NotComputable("the network has no earlier stage that could be told")
        return self._space(Moments.of(own), torch.cat(known))

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

    def _space(self, moments: Moments, others: Tensor) -> RetainSpace:
        return retain_space(moments, channel_scale(moments, others, self.samples.scale_floor))


def layout_of(model: nn.Module) -> str:
    """Return a SHA-256 over the names and shapes of a network's weights and buffers."""
    shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    return hashlib.sha256(repr(shapes).encode()).hexdigest()
