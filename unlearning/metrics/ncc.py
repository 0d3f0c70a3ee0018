"""Nearest class centre: higher means the class is still compact; a retrained model is lower.

The centre of each class over the standardised features of F ∪ R with their true labels; a
hold-out sample is given the class of the nearest centre. Needs no training (arXiv 2604.08271,
equation 5).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.metrics.probe import check_labelled


@dataclass(frozen=True)
class Centres:
    """Class centres [K, d] float64; a class without samples is infinitely far away."""

    means: Tensor
    present: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return [n, K] scores that rise as the distance falls, to be given to `accuracy`.

        The score is z·c − ‖c‖²/2, which orders the centres as −‖z − c‖ does.
        """
        scores = features.to(self.means) @ self.means.T - 0.5 * self.means.square().sum(dim=1)
        return scores.masked_fill(~self.present, -torch.inf)


def fit_centres(features: Tensor, labels: Tensor, num_classes: int) -> Centres:
    """Average the [n, d] standardised features of each label.

    Raises:
        NotComputable: no sample.
        ValueError: NaN or infinite features, labels out of range.
    """
    check_labelled(features, labels, num_classes)
    rows = features.detach().double()
    members = torch.nn.functional.one_hot(labels.to(rows.device), num_classes).to(rows)
    counts = members.sum(dim=0)
    return Centres((members.T @ rows) / counts.clamp(min=1)[:, None], counts > 0)
