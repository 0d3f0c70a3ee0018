"""l1-sparse: fine-tune on the retain set while a penalty takes weights to zero.

Jia, Liu, Ram, Yao, Liu, Liu, Sharma and Liu, "Model Sparsity Can Simplify Machine Unlearning"
(arXiv 2304.04934): minimise the loss on R + γ · ‖θ‖₁, with γ falling linearly to zero over the
epochs, one of the schedules that they compare. γ = 5·10⁻⁴ follows published runs on CIFAR-10;
epochs and learning rate are those of `finetune`, which it is compared with.

Like fine-tuning it never touches the forget set, so it does not promise that a class is forgotten.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearning.methods.contract import Method
from unlearning.methods.descent import descend
from unlearning.problem import Problem
from unlearning.settings import check_ranges, check_types
from unlearning.training import Batch, Epoch, LossStep, Walk, cross_entropy


@dataclass(frozen=True, kw_only=True)
class L1Sparse(Method):
    """Fine-tune with a falling l1 penalty on all trainable weights.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "l1_sparse"
    version: ClassVar[str] = "1"

    gamma: float = 5e-4
    """Weight of the penalty in the first epoch."""
    epochs: int = 5
    """Walks over the retain set."""
    relative_lr: float = 0.5
    """Peak learning rate as a fraction of the recipe's."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "gamma": 0 <= self.gamma <= 1,
            "epochs": self.epochs >= 1,
            "relative_lr": 0 < self.relative_lr <= 10,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the model that was fine-tuned under the penalty."""
        plan = [
            Epoch(walks=[Walk(images=problem.retain, loss=self.penalised(problem, number))])
            for number in range(self.epochs)
        ]
        return descend(
            problem.copy_model(),
            plan,
            problem,
            phase=self.name,
            relative_lr=self.relative_lr,
            schedule="one_cycle",
        )

    def penalised(self, problem: Problem, number: int) -> LossStep:
        """Make the loss of one epoch, counted from 0."""
        supervised = cross_entropy(problem.settings.label_smoothing)
        weight = self.gamma * (1 - number / self.epochs)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            sizes = [p.abs().sum() for p in model.parameters() if p.requires_grad]
            return supervised(model, batch) + weight * torch.stack(sizes).sum()

        return loss
