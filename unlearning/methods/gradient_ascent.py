"""NegGrad+: descend on the retain set's loss and ascend on the forget set's, in the same step.

Kurmanji, Triantafillou, Hayes and Triantafillou, "Towards Unbounded Machine Unlearning" (arXiv
2302.09880), who propose it as a strong baseline: minimise
β · mean loss on R − (1 − β) · mean loss on F. Here R has weight one and F the weight `beta`, which
is their (1 − β) / β up to the learning rate: .05 stands for their β = .95 on small problems, and
their .9999 on large ones would be .0001. Epochs and learning rate are ours, chosen on toy problems
and digits. The ascent has no bound of its own: the recipe's gradient clipping is what holds it, and
at higher rates it ruins the network.

Deviation: forget images pass the batch norms in eval mode, so that they leave no trace there.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from unlearning.methods.contract import Method
from unlearning.methods.descent import descend, endless_batches, without_statistics
from unlearning.problem import Problem
from unlearning.settings import check_ranges, check_types
from unlearning.training import Batch, Epoch, LossStep, Walk, cross_entropy


@dataclass(frozen=True, kw_only=True)
class GradientAscent(Method):
    """Each step takes a batch of R and one of F; F is walked over again when R is longer.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "gradient_ascent"
    version: ClassVar[str] = "1"

    beta: float = 0.05
    """Weight of the forget set's loss; with 0 this is fine-tuning on R."""
    epochs: int = 5
    """Walks over the retain set."""
    relative_lr: float = 0.1
    """First learning rate as a fraction of the recipe's peak; it falls to zero along a cosine."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "beta": 0 <= self.beta <= 100,
            "epochs": self.epochs >= 1,
            "relative_lr": 0 < self.relative_lr <= 10,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the model that ascended on the forget set."""
        walk = Walk(images=problem.retain, loss=self._loss(problem))
        return descend(
            problem.copy_model(),
            [Epoch(walks=[walk])] * self.epochs,
            problem,
            phase=self.name,
            relative_lr=self.relative_lr,
        )

    def _loss(self, problem: Problem) -> LossStep:
        supervised = cross_entropy(problem.settings.label_smoothing)
        if self.beta == 0:
            return supervised
        forget = endless_batches(problem.forget, problem)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            descent, asked = supervised(model, batch), next(forget)
            with without_statistics(model):
                ascent = functional.cross_entropy(model(asked.images), asked.labels)
            return descent - self.beta * ascent

        return loss
