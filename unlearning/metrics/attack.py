"""Population attack: AUC above ½ means forget samples look like members, below ½ like strangers.

A loss attack of F (claimed members) against hold-out samples of the same labels. Weak: a model
with a masked head passes it, so it decides nothing alone.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.errors import NotComputable


@dataclass(frozen=True)
class PopulationAttack:
    """Result of the attack.

    Attributes:
        auc: P(member score > non-member score) + ½P(equal), in [0, 1].
        auc_sd: DeLong's standard deviation of it; nan with one sample on a side.
        num_members: forget samples compared.
        num_negatives: effective number of hold-out samples, (Σw)² / Σw².
        num_unmatched: forget samples left out because the hold-out lacks their label.
    """

    auc: float
    auc_sd: float
    num_members: int
    num_negatives: float
    num_unmatched: int


@dataclass(frozen=True)
class Matched:
    """Scores of forget and hold-out samples whose labels agree.

    `members` [n]; `negatives` [m] with `weights` [m], which add up to one and follow the members'
    labels; `num_unmatched` forget samples whose label the hold-out lacks.
    """

    members: Tensor
    negatives: Tensor
    weights: Tensor
    num_unmatched: int


def loss_score(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log p_y, the negated cross-entropy, of each sample: [n]; higher is member-like."""
    return -functional.cross_entropy(logits.double(), labels, reduction="none")


def modified_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −(1 − p_y)·log p_y − Σ over j ≠ y of p_j·log(1 − p_j): [n]; *lower* is member-like.

    Source: Song and Mittal (2021), equation 8; one entry per row, log(1 − p) from 1 − p.
    """
    log_p = functional.log_softmax(logits.double(), dim=1)
    p = log_p.exp()
    # 1 − p_j as the sum of the others keeps its digits where p_j is nearly one.
    others = p.new_ones(p.shape[1], p.shape[1]).fill_diagonal_(0)
    rest = (p @ others).clamp(min=torch.finfo(p.dtype).tiny)
    rows = torch.arange(len(labels), device=labels.device)
    terms = p * rest.log()
    terms[rows, labels] = rest[rows, labels] * log_p[rows, labels]
    return -terms.sum(dim=1)


def population_attack(
    scores: Tensor, labels: Tensor, holdout_scores: Tensor, holdout_labels: Tensor
) -> PopulationAttack:
    """Compare forget scores with hold-out scores weighted to the forget set's labels.

    A hold-out sample of label c weighs n_F,c / n_H,c, so class difficulty cannot pass for
    membership and no subsample is drawn.

    Args:
        scores: [n], higher = more member-like, as `loss_score` gives.
        labels: [n].
        holdout_scores: [n_H].
        holdout_labels: [n_H].

    Raises:
        NotComputable: no forget sample, or none whose label the hold-out has.
        ValueError: NaN scores.
    """
    matched = match_labels(scores, labels, holdout_scores, holdout_labels)
    members, negatives, weights = matched.members, matched.negatives, matched.weights
    placements = _weighted_share_below(members, negatives, weights)
    return PopulationAttack(
        auc=float(placements.mean()),
        auc_sd=_delong_sd(members, negatives, weights, placements),
        num_members=len(members),
        num_negatives=float(1 / weights.square().sum()),
        num_unmatched=matched.num_unmatched,
    )


def match_labels(
    scores: Tensor, labels: Tensor, holdout_scores: Tensor, holdout_labels: Tensor
) -> Matched:
    """Return the scores that can be compared label by label, for `true_positives` too.

    Raises:
        NotComputable: no forget sample, or none whose label the hold-out has.
        ValueError: NaN scores.
    """
    if torch.isnan(scores).any() or torch.isnan(holdout_scores).any():
        raise ValueError("scores hold NaN")
    matched = torch.isin(labels, holdout_labels)
    if not matched.any():
        raise NotComputable("no hold-out sample has the label of a forget sample")
    wanted = torch.isin(holdout_labels, labels)
    return Matched(
        scores[matched].double(),
        holdout_scores[wanted].double(),
        _weights(labels[matched], holdout_labels[wanted]),
        int((~matched).sum()),
    )


def _weights(labels: Tensor, holdout_labels: Tensor) -> Tensor:
    """Return hold-out weights that add up to one and follow the forget set's labels."""
    size = int(torch.maximum(labels.max(), holdout_labels.max())) + 1
    forget = torch.bincount(labels, minlength=size).double()
    holdout = torch.bincount(holdout_labels, minlength=size).double()
    return (forget / holdout.clamp(min=1))[holdout_labels] / len(labels)


def _weighted_share_below(values: Tensor, population: Tensor, weights: Tensor) -> Tensor:
    """Return, for each value, the population's weight below it plus half of the weight equal."""
    ordered, order = population.sort()
    cumulative = functional.pad(weights[order].cumsum(0), (1, 0))
    below = cumulative[torch.searchsorted(ordered, values, right=False)]
    up_to = cumulative[torch.searchsorted(ordered, values, right=True)]
    return ((below + up_to) / (2 * cumulative[-1])).clamp(0, 1)


def _delong_sd(members: Tensor, negatives: Tensor, weights: Tensor, placements: Tensor) -> float:
    """Return the deviation of the AUC from the placements of both sides (DeLong et al., 1988)."""
    effective = float(1 / weights.square().sum())
    if len(members) < 2 or effective < 2:
        return math.nan
    even = members.new_full((len(members),), 1 / len(members))
    reverse = 1 - _weighted_share_below(negatives, members, even)
    spread = float((weights * (reverse - (weights * reverse).sum()).square()).sum())
    return math.sqrt(float(placements.var()) / len(members) + spread / (effective - 1))
