"""Fine-tuning: further training on the retain set alone, the weakest of the peers."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from unlearning.methods.contract import Method
from unlearning.problem import Problem
from unlearning.settings import check_ranges, check_types
from unlearning.training import fit


@dataclass(frozen=True, kw_only=True)
class FineTune(Method):
    """Go on training on the retain set and trust that the rest is forgotten.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "finetune"
    version: ClassVar[str] = "1"

    epochs: int = 5
    """Walks over the retain set."""
    relative_lr: float = 0.5
    """Peak learning rate as a fraction of the recipe's."""

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self, {"epochs": self.epochs >= 1, "relative_lr": 0 < self.relative_lr <= 10})

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the fine-tuned model."""
        settings = problem.settings
        recipe = replace(settings, epochs=self.epochs, peak_lr=settings.peak_lr * self.relative_lr)
        return fit(
            problem.copy_model(),
            problem.retain,
            recipe,
            seed=problem.seed,
            phase=self.name,
            progress=problem.progress,
            cancel=problem.cancel,
        )
