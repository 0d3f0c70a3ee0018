"""Random labels: train on the forget set under wrong labels, beside the retain set under its own.

After Graves, Nagisetty and Ganesh, "Amnesiac Machine Learning" (arXiv 2010.10981), section 4.1: the
samples to be forgotten get a label drawn uniformly from the other classes, and training goes on
for a few epochs on both. The default learning rate is half of the recipe's peak, as in `finetune`;
the paper gives none for networks of this size.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from unlearning.methods.contract import Method
from unlearning.methods.descent import descend
from unlearning.planting import wrong_labels
from unlearning.problem import Problem
from unlearning.randomness import generator
from unlearning.settings import check_ranges, check_types
from unlearning.training import Batch, Epoch, Walk, cross_entropy


@dataclass(frozen=True, kw_only=True)
class RandomLabels(Method):
    """Teach wrong labels for the forget set; the labels are drawn once, by the problem's seed.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "random_labels"
    version: ClassVar[str] = "1"

    epochs: int = 5
    """Walks over forget and retain set, their batches evenly mixed."""
    relative_lr: float = 0.5
    """First learning rate as a fraction of the recipe's peak; it falls to zero along a cosine."""

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self, {"epochs": self.epochs >= 1, "relative_lr": 0 < self.relative_lr <= 10})

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the model that was taught wrong labels."""
        return descend(
            problem.copy_model(),
            [wrong_label_epoch(problem)] * self.epochs,
            problem,
            phase=self.name,
            relative_lr=self.relative_lr,
        )


def wrong_label_epoch(problem: Problem) -> Epoch:
    """Plan one walk over F under wrong labels and one over R under its own, batches mixed."""
    wrong = wrong_labels(
        problem.forget.labels, problem.num_classes, generator(problem.seed, "wrong labels")
    ).to(problem.device)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(model(batch.images), wrong[batch.positions])

    walks = [
        Walk(images=problem.forget, loss=loss, batch_statistics=False),
        Walk(images=problem.retain, loss=cross_entropy(problem.settings.label_smoothing)),
    ]
    return Epoch(walks=walks, interleaved=True)
