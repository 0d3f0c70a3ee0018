"""SalUn: teach wrong labels, but only to the weights that matter for the forget set.

Fan, Liu, Zhang, Wong, Wei and Liu, "SalUn: Empowering Machine Unlearning via Gradient-based Weight
Saliency" (arXiv 2310.12508): the mask is one where the absolute gradient of the forget loss at the
original weights is at least a threshold, the median in the paper, and the unlearnt weights are
mask ⊙ (original + change) + (1 − mask) ⊙ original; the change comes from random labels on F beside
the true ones on R. The threshold is the paper's; epochs and learning rate are those of
`random_labels`, which it is compared with.

Deviation: no weight decay, which would move the weights outside the mask as well. Statistics of
batch norms are no weights and go on moving with R.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearning.methods.contract import Method
from unlearning.methods.descent import descend
from unlearning.methods.random_labels import wrong_label_epoch
from unlearning.methods.saliency import mean_gradient, trainable
from unlearning.problem import Problem
from unlearning.settings import check_ranges, check_types


@dataclass(frozen=True, kw_only=True)
class SalUn(Method):
    """Random labels under a mask of salient weights.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "salun"
    version: ClassVar[str] = "1"

    salient_share: float = 0.5
    """Share of all trainable weights that may change, those of the largest gradients."""
    epochs: int = 5
    """Walks over forget and retain set, their batches evenly mixed."""
    relative_lr: float = 0.5
    """First learning rate as a fraction of the recipe's peak; it falls to zero along a cosine."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "salient_share": 0 < self.salient_share <= 1,
            "epochs": self.epochs >= 1,
            "relative_lr": 0 < self.relative_lr <= 10,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the model whose salient weights were taught wrong labels."""
        model = problem.copy_model()
        gradients = mean_gradient(model, problem.forget, problem, f"{self.name}: saliency")
        masks = salient_weights(gradients, self.salient_share)
        handles = [
            parameter.register_hook(_Mask(masks[name]))  # type: ignore[no-untyped-call]
            for name, parameter in trainable(model).items()
        ]
        try:
            return descend(
                model,
                [wrong_label_epoch(problem)] * self.epochs,
                problem,
                phase=self.name,
                relative_lr=self.relative_lr,
                recipe=replace(problem.settings, weight_decay=0.0),
            )
        finally:
            for handle in handles:
                handle.remove()


def salient_weights(gradients: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Mark, over all weights together, the `share` with the largest absolute gradients.

    Weights that tie with the last one marked are marked too; those without gradient never are,
    unless all are asked for.
    """
    sizes = torch.cat([gradient.abs().flatten() for gradient in gradients.values()])
    count = max(1, round(share * len(sizes)))
    if count == len(sizes):
        return {name: torch.ones_like(gradient) for name, gradient in gradients.items()}
    threshold = sizes.kthvalue(len(sizes) - count + 1).values
    return {
        name: ((gradient.abs() >= threshold) & (gradient != 0)).to(gradient.dtype)
        for name, gradient in gradients.items()
    }


class _Mask:
    """Gradient hook that stops the gradients of weights outside the mask."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient * self.mask
