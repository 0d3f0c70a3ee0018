"""Selective synaptic dampening: shrink the weights that matter for the forget set, and train none.

Foster, Schoepf and Brintrup, "Fast Machine Unlearning Without Retraining Through Selective Synaptic
Dampening" (arXiv 2308.07707): with I_D and I_F the diagonals of the Fisher matrix on all training
samples and on the forget set, a weight with I_F > α I_D is multiplied by min(λ I_D / I_F, 1); the
others stay.

Defaults: λ = 1 is the paper's. Its α = 10 is for data sets of many classes and selects nothing
where F is a tenth of D or more, because I_F ≤ I_D · |D| / |F|: ours is smaller. The Fisher matrix
takes the square of each sample's gradient, which is slow; `group` squares the mean gradient of
several samples, and 1 is the formula itself.

Known weakness: on random samples, and where R is small, it changes little or nothing; on one class
it can ruin the others.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearning.methods.contract import Method
from unlearning.methods.saliency import summed_squares, trainable
from unlearning.problem import Problem
from unlearning.settings import check_ranges, check_types


@dataclass(frozen=True, kw_only=True)
class SelectiveSynapticDampening(Method):
    """Dampen weights by how much more they matter for F than for D; uses no random number.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "ssd"
    version: ClassVar[str] = "1"

    alpha: float = 2.0
    """How many times more important for F than for D a weight must be to be dampened."""
    dampening: float = 1.0
    """The paper's λ: factor on I_D / I_F; smaller values shrink more."""
    group: int = 16
    """Samples whose mean gradient is squared together; 1 is the Fisher matrix itself."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "alpha": 0 < self.alpha <= 1000,
            "dampening": 0 <= self.dampening <= 100,
            "group": self.group >= 1,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the dampened model."""
        model = problem.copy_model()
        n_forget, forget = self._squares(model, problem, "forget")
        n_retain, retain = self._squares(model, problem, "retain")
        with torch.no_grad():
            for name, parameter in trainable(model).items():
                on_all = (retain[name] + forget[name]) / (n_retain + n_forget)
                parameter.mul_(self.factors(forget[name] / n_forget, on_all))
        return model.eval()

    def factors(self, on_forget: Tensor, on_all: Tensor) -> Tensor:
        """Return what weights of these importances, both ≥ 0, are multiplied by."""
        selected = on_forget > self.alpha * on_all
        tiny = torch.finfo(on_forget.dtype).tiny
        shrunk = (self.dampening * on_all / on_forget.clamp_min(tiny)).clamp(max=1)
        return torch.where(selected, shrunk, torch.ones_like(shrunk))

    def _squares(
        self, model: nn.Module, problem: Problem, role: str
    ) -> tuple[int, dict[str, Tensor]]:
        images = problem.forget if role == "forget" else problem.retain
        return summed_squares(model, images, self.group, problem, f"{self.name}: {role}")
