"""Plant wrong labels: what a network memorises of single samples, made on purpose."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from unlearning.data import Images
from unlearning.errors import InvalidProblem
from unlearning.randomness import generator


def plant_wrong_labels(images: Images, classes: Sequence[int], seed: int) -> Images:
    """Return the same images, each with another label of ``classes``, drawn evenly by the seed.

    Raises:
        InvalidProblem: fewer than two classes, or a label that is not among them.
    """
    known = torch.tensor(sorted(set(classes)), dtype=torch.int64)
    if len(known) < 2:
        raise InvalidProblem("a wrong label needs a second class")
    if not torch.isin(images.labels, known).all():
        raise InvalidProblem("a sample's own label is not among the classes")
    places = torch.searchsorted(known, images.labels)
    wrong = wrong_labels(places, len(known), generator(seed, "wrong labels"))
    return _Relabelled(images, known[wrong])


def wrong_labels(labels: Tensor, num_classes: int, draws: torch.Generator) -> Tensor:
    """Return for each label [n] another one, drawn uniformly from the other classes."""
    shifts = torch.randint(1, num_classes, labels.shape, generator=draws)
    return (labels + shifts) % num_classes


class _Relabelled:
    """Images of another set under other labels; nothing is copied."""

    def __init__(self, whole: Images, labels: Tensor) -> None:
        self._whole = whole
        self.labels = labels
        self.num_classes = whole.num_classes
        self.device = whole.device

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> Tensor:
        return self._whole.batch(index)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        return self._whole.batches(indices)

    def subset(self, index: Tensor) -> Images:
        return _Relabelled(self._whole.subset(index), self.labels[index.cpu()])
