"""Top-1 accuracy: higher means more recognised; on a forgotten class a retrained model has none."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.intervals import wilson


@dataclass(frozen=True)
class Accuracy:
    """A share of recognised samples with its Wilson interval."""

    correct: int
    n: int

    @property
    def value(self) -> float:
        """Return the share, in [0, 1]."""
        return self.correct / self.n

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the Wilson interval of the share."""
        return wilson(self.correct, self.n, level)


def recognised(logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether the largest of [n, K] logits is the label's: [n] bool; ties to the first.

    Raises:
        ValueError: a logit is NaN (argmax would count it as the largest), or the sizes differ.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected [n, K] and [n], got {logits.shape} and {labels.shape}")
    if torch.isnan(logits).any():
        raise ValueError("logits hold NaN")
    return logits.argmax(dim=1) == labels


def accuracy(logits: Tensor, labels: Tensor) -> Accuracy:
    """Count the recognised samples.

    Raises:
        NotComputable: there is no sample.
    """
    hits = recognised(logits, labels)
    if not hits.numel():
        raise NotComputable("no sample to recognise")
    return Accuracy(int(hits.sum()), hits.numel())


def per_class(logits: Tensor, labels: Tensor) -> dict[int, Accuracy]:
    """Count the recognised samples of each label that occurs, keyed in rising order."""
    hits = recognised(logits, labels)
    return {
        int(label): Accuracy(int(hits[labels == label].sum()), int((labels == label).sum()))
        for label in torch.unique(labels)
    }
