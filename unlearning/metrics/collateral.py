"""Collateral: higher means more hold-out accuracy lost than retraining loses; about 0 is none.

Means over classes and samples hide who pays. Two worst cases, each the loss of one model against
the mean of others that were retrained: the class that lost most, and the tenth (of the samples, of
the classes) that lost most. They pick the worst after looking, so a genuine retrain is above zero
too; compare with the same figure of each reference against the other ones.
"""

import math

import torch
from torch import Tensor

from unlearning.errors import NotComputable

TENTH = 0.1


def losses(own: Tensor, expected: Tensor) -> Tensor:
    """Return expected − own accuracy of each class or sample: [n] float64, in [−1, 1]."""
    if own.shape != expected.shape or own.ndim != 1:
        raise ValueError(f"expected [n] and [n], got {own.shape} and {expected.shape}")
    if not len(own):
        raise NotComputable("the hold-out has no sample of a retained class")
    if not (torch.isfinite(own).all() and torch.isfinite(expected).all()):
        raise ValueError("accuracies hold NaN or infinite values")
    return expected.double() - own.double()


def worst(own: Tensor, expected: Tensor) -> float:
    """Return the largest loss: of the worst class, where these are classes."""
    return float(losses(own, expected).max())


def worst_tenth(own: Tensor, expected: Tensor) -> float:
    """Return the mean loss of the ⌈n/10⌉ classes or samples that lost most.

    For samples `own` is 0 or 1 (recognised) and `expected` the share of the other models that
    recognise the sample.
    """
    lost = losses(own, expected)
    return float(lost.topk(math.ceil(TENTH * len(lost))).values.mean())
