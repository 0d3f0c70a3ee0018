"""Confidence on the forget set: higher means more member-like, that is more influence left.

Two statistics are free of the scale and temperature of the logits: the *rank* of a forget sample's
margin for its label among all hold-out samples' margins for that label, and the margin divided by
the hold-out's. Ranking only among hold-out samples *of* that label would be a loss attack, which
calls clean what these reject.
"""

import torch
from scipy.optimize import brentq
from torch import Tensor

from unlearning.errors import NotComputable

_INVERSE_RANGE = 1e4


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y − max over j ≠ y of z_j for each sample: [n] float64; > 0 where recognised."""
    _check(logits, labels)
    logits = logits.double()
    own = logits.gather(1, labels[:, None]).squeeze(1)
    return own - logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


def rank(logits: Tensor, labels: Tensor, holdout_logits: Tensor) -> Tensor:
    """Return the logit of each forget margin's rank among *all* hold-out margins for its label.

    The rank is (#below + ½#equal + ½) / (n_H + 1), so the logit is finite: within ± ln(2n_H + 1).
    Take the mean over F. Zero: like a typical hold-out sample, whatever its own label.

    Args:
        logits: [n, K] of the forget set.
        labels: [n] of the forget set, as registered.
        holdout_logits: [n_H, K]; its labels play no part.

    Raises:
        NotComputable: empty forget set or hold-out.
    """
    if not len(holdout_logits):
        raise NotComputable("the hold-out is empty")
    own = margins(logits, labels)
    logs = torch.empty_like(own)
    for label in torch.unique(labels):
        those = labels == label
        everyone = torch.full((len(holdout_logits),), int(label), device=labels.device)
        population = margins(holdout_logits, everyone).sort().values
        below = torch.searchsorted(population, own[those], right=False)
        up_to = torch.searchsorted(population, own[those], right=True)
        share = ((below + up_to) / 2 + 0.5) / (len(population) + 1)
        logs[those] = torch.logit(share.double())
    return logs


def normalised_margin(
    logits: Tensor, labels: Tensor, holdout_logits: Tensor, holdout_labels: Tensor
) -> float:
    """Return the mean margin over F divided by the hold-out's mean margin for its own labels.

    One: like the hold-out; higher: more sure than on unseen samples.

    Raises:
        NotComputable: an empty set, or a hold-out that the model does not recognise on average.
    """
    unit = float(margins(holdout_logits, holdout_labels).mean())
    if unit <= 0:
        raise NotComputable("the model's mean margin on the hold-out is not positive")
    return float(margins(logits, labels).mean()) / unit


def temperature(logits: Tensor, labels: Tensor) -> float:
    """Return T > 0 that minimises the cross-entropy of logits / T on the hold-out.

    T grows with the logits' scale, so calibrated predictions do not depend on it. Clipped at
    1e-4 and 1e4 times the logits' own spread: a hold-out without errors asks for T = 0.

    Source: Guo et al. (2017).

    Raises:
        NotComputable: empty hold-out, or constant logits.
    """
    _check(logits, labels)
    logits = logits.double()
    spread = float((logits - logits.mean(dim=1, keepdim=True)).square().mean().sqrt())
    if spread == 0:
        raise NotComputable("constant logits have no temperature")
    scaled = logits / spread
    own = scaled.gather(1, labels[:, None]).squeeze(1)

    def slope(log_inverse: float) -> float:
        """Return the derivative of the loss in 1/T, which rises with 1/T (the loss is convex)."""
        weights = torch.softmax(scaled * torch.exp(torch.tensor(log_inverse)), dim=1)
        return float(((weights * scaled).sum(dim=1) - own).mean())

    limit = float(torch.tensor(_INVERSE_RANGE).log())
    if slope(-limit) >= 0:
        return spread * _INVERSE_RANGE
    if slope(limit) <= 0:
        return spread / _INVERSE_RANGE
    root = float(brentq(slope, -limit, limit, xtol=1e-10))
    return spread * float(torch.exp(torch.tensor(-root, dtype=torch.float64)))


def label_probability(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Return p_y of softmax(logits / temperature) for each sample: [n] float64, in [0, 1]."""
    _check(logits, labels)
    probabilities = torch.softmax(logits.double() / temperature, dim=1)
    return probabilities.gather(1, labels[:, None]).squeeze(1)


def gap(label_probabilities: Tensor, references: Tensor) -> float:
    """Return mean |p_y − the references' mean p_y|, [n] against [m, n]: unsigned, zero is equal."""
    if not label_probabilities.numel() or not references.shape[0]:
        raise NotComputable("no sample or no reference to compare with")
    return float((label_probabilities.double() - references.double().mean(dim=0)).abs().mean())


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected [n, K] and [n], got {logits.shape} and {labels.shape}")
    if not len(labels):
        raise NotComputable("no sample")
    if logits.shape[1] < 2:
        raise NotComputable("a single class has no margin")
    if not torch.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinite values")
