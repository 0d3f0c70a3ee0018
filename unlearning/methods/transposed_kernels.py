"""CT: transpose every convolution kernel, then fine-tune on the retain set.

The fifth-placed entry of the NeurIPS 2023 unlearning challenge, one of the two that "consistently
perform better" than eighteen methods in Cadet et al., "Deep Unlearn" (2024). Written from its
description there: swap the two spatial axes of all convolution weights, then three epochs of
cross-entropy on R with a learning rate that falls along a cosine. Three epochs are the entry's; its
rate of 10⁻³ is for pretrained ResNets, ours is the recipe's peak times `relative_lr`.

The entry is defined for convolutional networks. Where fewer than a tenth of the layers have
kernels to transpose (transformers, MLPs) the last stage and the classifier are drawn anew instead,
as `distilled_recovery(perturb="transposed")` does, which is this method with a longer recovery.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from unlearning.methods.contract import Method
from unlearning.methods.descent import descend
from unlearning.methods.perturbation import restart_last_stage, transpose_kernels
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, seeded
from unlearning.settings import check_ranges, check_types
from unlearning.training import Epoch, Walk, cross_entropy


@dataclass(frozen=True, kw_only=True)
class TransposedKernels(Method):
    """Transpose, then fine-tune; the forget set itself is never looked at.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "transposed_kernels"
    version: ClassVar[str] = "1"

    epochs: int = 3
    """Walks over the retain set."""
    relative_lr: float = 0.5
    """First learning rate as a fraction of the recipe's peak; it falls to zero along a cosine."""

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self, {"epochs": self.epochs >= 1, "relative_lr": 0 < self.relative_lr <= 10})

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the fine-tuned model."""
        model = problem.copy_model()
        if not transpose_kernels(model):
            with seeded(derive_seed(problem.seed, "perturbation"), problem.device):
                restart_last_stage(model, problem.classifier)
        loss = cross_entropy(problem.settings.label_smoothing)
        plan = [Epoch(walks=[Walk(images=problem.retain, loss=loss)])] * self.epochs
        return descend(model, plan, problem, phase=self.name, relative_lr=self.relative_lr)
