"""DELETE: distil the original on the forget set, with each sample's own class masked.

Zhou, Zheng, Mo, Lu, Lin and Zheng, "Decoupled Distillation to Erase: A General Unlearning Method
for Any Class-centric Tasks" (arXiv 2503.23751, CVPR 2025): the loss splits into forgetting the
class and keeping what the original says of the others, so the student minimises
KL(softmax(mask(original's logits)) ‖ student) on F alone, where the mask puts the class's logit at
−∞. Twenty epochs are the authors' for CIFAR-10; the learning rate is ours, because their 10⁻⁴ goes
with another loop.

With several forgotten classes all of them are masked. On single samples of retained classes the
sample's own class is masked, as in the published method: that forgets too much where a retrained
network would recognise the sample. Batch norm is in eval mode throughout.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.features import extract
from unlearning.methods.contract import Method
from unlearning.methods.descent import descend
from unlearning.methods.distillation import divergence_from
from unlearning.problem import Problem
from unlearning.settings import check_ranges, check_types
from unlearning.training import Batch, Epoch, Walk


@dataclass(frozen=True, kw_only=True)
class Delete(Method):
    """Masked distillation on the forget set alone.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "delete"
    version: ClassVar[str] = "1"

    epochs: int = 20
    """Walks over the forget set."""
    relative_lr: float = 0.05
    """First learning rate as a fraction of the recipe's peak; it falls to zero along a cosine."""

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self, {"epochs": self.epochs >= 1, "relative_lr": 0 < self.relative_lr <= 10})

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the student."""
        model = problem.copy_model()
        logits = extract(model, problem.forget, problem.classifier, stages=False).logits
        targets = erased_target(logits, problem.forget.labels, problem.forgotten_classes)
        targets = targets.to(problem.device)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            return divergence_from(targets[batch.positions], model(batch.images))

        walk = Walk(images=problem.forget, loss=loss, batch_statistics=False)
        plan = [Epoch(walks=[walk])] * self.epochs
        return descend(model, plan, problem, phase=self.name, relative_lr=self.relative_lr)


def erased_target(logits: Tensor, labels: Tensor, forgotten: tuple[int, ...]) -> Tensor:
    """Return the softmax of logits [n, K] without the sample's own class.

    Samples of forgotten classes have all forgotten classes masked, others their own alone.
    """
    own = functional.one_hot(labels, logits.shape[1]).bool()
    whole = own[:, list(forgotten)].any(1, keepdim=True)
    all_forgotten = torch.zeros_like(own)
    all_forgotten[:, list(forgotten)] = True
    return logits.float().masked_fill(own | (whole & all_forgotten), -torch.inf).softmax(1)
