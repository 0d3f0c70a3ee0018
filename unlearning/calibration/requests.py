"""What a draw asks to forget: a whole class, wrong labels, samples at random, memorised ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from unlearning.data import TensorImages
from unlearning.folds import split_folds
from unlearning.metrics.confidence import label_probability
from unlearning.planting import wrong_labels

Asked = tuple[TensorImages, Tensor]
"""A training set, and which of its samples are to be forgotten, bool [n]."""
FoldLogits = Callable[[TensorImages, int], Tensor]
"""Trains on what a fold leaves and returns the logits of the whole training set, [n, K]."""

NUM_WRONG = 40
"""Training labels that are wrong in a draw of mislabelled samples."""
NUM_ASKED = 20
"""Of these, how many are to be forgotten."""
RANDOM_SHARE = 0.01
"""Share of the training set that a random request asks for."""
MOST_MEMORISED = 0.1
"""Share of the training set among whose most memorised samples half of a request is drawn."""


def one_class(train: TensorImages, label: int) -> Asked:
    """Ask for all samples of a class."""
    return train, train.labels == label


def mislabelled(train: TensorImages, draws: torch.Generator) -> Asked:
    """Give forty samples another label and ask for twenty of these."""
    chosen = torch.randperm(len(train), generator=draws)[:NUM_WRONG]
    labels = train.labels.clone()
    labels[chosen] = wrong_labels(labels[chosen], train.num_classes, draws)
    images = TensorImages(train.images, labels, train.num_classes, train.mean, train.std)
    return images, _mask(chosen[:NUM_ASKED], len(train))


def at_random(train: TensorImages, draws: torch.Generator) -> Asked:
    """Ask for one sample in a hundred."""
    number = max(1, round(RANDOM_SHARE * len(train)))
    return train, _mask(torch.randperm(len(train), generator=draws)[:number], len(train))


def memorised(
    train: TensorImages, draws: torch.Generator, number: int, logits_of: FoldLogits, seed: int
) -> Asked:
    """Ask for `number` of the tenth that is memorised most, and as many at random besides."""
    scores = memorisation(train, logits_of, seed)
    most = scores.topk(max(number, round(MOST_MEMORISED * len(train)))).indices
    hard = most[torch.randperm(len(most), generator=draws)[:number]]
    others = (~_mask(hard, len(train))).nonzero()[:, 0]
    easy = others[torch.randperm(len(others), generator=draws)[:number]]
    return train, _mask(torch.cat([hard, easy]), len(train))


def memorisation(train: TensorImages, logits_of: FoldLogits, seed: int) -> Tensor:
    """Return mean p_y by models that saw a sample minus p_y by the one that did not, float64 [n].

    One model for each of ten folds. Source: Feldman and Zhang (arXiv 2008.03703), equation 1.
    """
    folds = split_folds(train.labels, seed=seed)
    seen, strange = torch.zeros(len(train)).double(), torch.zeros(len(train)).double()
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        logits = logits_of(train.subset((~out).nonzero()[:, 0]), fold)
        known = label_probability(logits, train.labels)
        strange[out] = known[out]
        seen[~out] += known[~out] / int(folds.max())
    return seen - strange


def _mask(positions: Tensor, length: int) -> Tensor:
    mask = torch.zeros(length, dtype=torch.bool)
    mask[positions] = True
    return mask
