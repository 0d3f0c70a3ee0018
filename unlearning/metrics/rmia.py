"""Robust membership inference: a *higher* score means more member-like; a stranger scores about ½.

RMIA, offline (Zarifzadeh, Liu and Shokri, arXiv 2312.03262): the likelihood ratio of a sample,
p_y under the audited model over p_y expected of models that did not see it, against the ratios of
a population that nobody trained on. Give temperature-calibrated p_y, or scale decides.
"""

import torch
from torch import Tensor

from unlearning.errors import NotComputable

OFFLINE_A = 0.3
_TINY = 1e-12


def rmia_scores(
    own: Tensor,
    references: Tensor,
    population: Tensor,
    population_references: Tensor,
    *,
    offline_a: float = OFFLINE_A,
    gamma: float = 1.0,
) -> Tensor:
    """Return each forget sample's share of the population that it exceeds by γ: [n] in [0, 1].

    Ties count half. With p̂ = ½((1 + a)·mean reference p_y + (1 − a)) and r = p_y / p̂, the score of
    x is the share of z with r(x) / r(z) > γ.

    Args:
        own: [n] p_y of the forget set under the audited model.
        references: [m, n] the same under models that did not see these samples.
        population: [n_H] p_y of the hold-out under the audited model.
        population_references: [m, n_H] the same under those models.
        offline_a: a, how far a reference's p_y stands for that of one that saw the sample.
        gamma: γ, the factor to be exceeded.

    Raises:
        NotComputable: no sample, reference or population.
        ValueError: values outside [0, 1], or shapes that do not belong together.
    """
    _check(own, references, population, population_references)
    ratios = likelihood_ratios(own, references, offline_a)
    ordered = likelihood_ratios(population, population_references, offline_a)
    ordered = (gamma * ordered).sort().values
    below = torch.searchsorted(ordered, ratios, right=False)
    up_to = torch.searchsorted(ordered, ratios, right=True)
    return (below + up_to).double() / (2 * len(ordered))


def likelihood_ratios(own: Tensor, references: Tensor, offline_a: float = OFFLINE_A) -> Tensor:
    """Return r = p_y / p̂ of each sample, [n] against [m, n]: the score before it is ranked."""
    expected = ((1 + offline_a) * references.double().mean(dim=0) + (1 - offline_a)) / 2
    return own.double() / expected.clamp(min=_TINY)


def _check(own: Tensor, references: Tensor, population: Tensor, others: Tensor) -> None:
    if references.shape[1:] != own.shape or others.shape[1:] != population.shape:
        raise ValueError("references must be [m, n] where the audited model's values are [n]")
    if not (own.numel() and references.numel() and population.numel() and others.numel()):
        raise NotComputable("RMIA needs forget samples, references and a population")
    for values in (own, references, population, others):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("expected probabilities in [0, 1] without NaN")
