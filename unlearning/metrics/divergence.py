"""Divergence of predictions from the references': unsigned, lower is closer, zero is equal.

Jensen–Shannon divergence (Lin, 1991) of a model's predicted distributions from the mean prediction
of other models, averaged over samples, in nats: [0, ln 2]. Being unsigned it does not say whether
too little or too much was forgotten. Used as its log.
"""

import math

import torch
from torch import Tensor

from unlearning.errors import NotComputable

LOG_FLOOR = 1e-12


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Return the divergence of each pair of distributions [n, K]: [n] float64, in [0, ln 2]."""
    p, q = _distributions(p), _distributions(q)
    if p.shape != q.shape:
        raise ValueError(f"expected equal shapes, got {tuple(p.shape)} and {tuple(q.shape)}")
    entropies = torch.special.entr(torch.stack([(p + q) / 2, p, q])).sum(dim=-1)
    gap: Tensor = entropies[0] - (entropies[1] + entropies[2]) / 2
    return gap.clamp(0, math.log(2))


def divergence(probabilities: Tensor, references: Tensor) -> float:
    """Return the mean divergence of [n, K] predictions from the mean of [m, n, K] references'.

    Raises:
        NotComputable: no sample or no reference.
    """
    if not references.shape[0] or not probabilities.shape[0]:
        raise NotComputable("no sample or no reference to compare with")
    return float(jensen_shannon(probabilities, references.double().mean(dim=0)).mean())


def leave_one_out(probabilities: Tensor) -> Tensor:
    """Return each model's mean divergence from the mean of the *others*: [m] float64.

    Args:
        probabilities: [m, n, K], m ≥ 2. Put the candidate among the references to treat all of
            them alike, as an exact test needs.
    """
    num_models = probabilities.shape[0]
    if num_models < 2 or not probabilities.shape[1]:
        raise NotComputable("leaving one out needs two models and a sample")
    total = probabilities.double().sum(dim=0)
    figures = [
        jensen_shannon(own, ((total - own) / (num_models - 1)).clamp(min=0)).mean()
        for own in probabilities.double()
    ]
    return torch.stack(figures)


def log_divergence(value: float) -> float:
    """Return the log of a divergence, floored at 1e-12 so that equal predictions stay finite."""
    return math.log(max(value, LOG_FLOOR))


def _distributions(p: Tensor) -> Tensor:
    p = p.double()
    if p.ndim != 2 or not torch.isfinite(p).all() or (p < 0).any():
        raise ValueError("expected probabilities [n, K]: finite and not negative")
    if not torch.allclose(p.sum(dim=1), p.new_ones(len(p)), atol=1e-3):
        raise ValueError("probabilities do not add up to one (are these logits?)")
    return p
