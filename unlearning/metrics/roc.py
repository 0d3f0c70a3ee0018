"""Curve of the population attack: higher at the left means more forget samples are surely known.

The share of members caught at each rate of false alarms, on a grid that is even in the rate's log,
for the figure alone; `tpr` gives the figures with their intervals.
"""

import torch
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.tpr import threshold

POINTS = 31


def rates() -> Tensor:
    """Return the grid of false-alarm rates, from .001 to 1: [31] float64."""
    return torch.logspace(-3, 0, POINTS, dtype=torch.float64)


def roc(members: Tensor, negatives: Tensor, weights: Tensor) -> Tensor:
    """Return the share of members above the threshold of each rate: [31] float64, rising.

    Args:
        members: [n] scores, higher = more member-like.
        negatives: [m] scores of samples that were surely not trained on.
        weights: [m] of the negatives, adding up to one.

    Raises:
        NotComputable: no member or no negative.
    """
    if not len(members) or not len(negatives):
        raise NotComputable("a curve needs members and negatives")
    scores = members.double()
    shares = [
        (scores > threshold(negatives, weights, float(rate))).double().mean() for rate in rates()
    ]
    return torch.stack(shares)
