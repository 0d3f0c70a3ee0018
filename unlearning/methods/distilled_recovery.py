"""Distilled recovery: break the weights, then relearn from the retain set, with a teacher or not.

Expunge's own. The default perturbation moves all weights part of the way to freshly drawn ones
(shrink and perturb, Ash and Adams, arXiv 1910.08475) and draws the last stage and the classifier
anew: what the forget set wrote there is gone, what all classes share comes back in fewer steps than
from nothing. Kernels transposed, stages alone and all fresh are options, and so is a masked
teacher in the recovery (docs/decisions/0003).
"""

import copy
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import nn

from unlearning.features import find_last_stage, find_module
from unlearning.methods.contract import Method
from unlearning.methods.distillation import recovery_loss
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, seeded
from unlearning.settings import check_ranges, check_types
from unlearning.training import Schedule, fit

_FEWEST_KERNELS = 0.1


@dataclass(frozen=True, kw_only=True)
class DistilledRecovery(Method):
    """Perturb the weights, then cross-entropy and masked distillation on the retain set.

    When single samples are to be forgotten the original is no teacher (it leaks them), and the
    recovery takes `instance_epochs` of cross-entropy. Frozen parameters are neither perturbed nor
    trained.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "distilled_recovery"
    version: ClassVar[str] = "1"

    perturb: Literal["shrunk", "transposed", "stages", "fresh"] = "shrunk"
    """`shrunk`: move all weights towards fresh ones, then as `stages`; `transposed`: swap the
    spatial axes of all square kernels larger than 1x1, or `stages` where fewer than a tenth of the
    layers have such kernels; `stages`: initialise the last stage and the classifier anew; `fresh`:
    initialise everything anew."""
    keep: float = 0.5
    """What is kept of the old weights when they are `shrunk`; the rest is freshly drawn."""
    epochs: int = 12
    """Walks over the retain set in class scope."""
    instance_epochs: int = 12
    """Walks over the retain set in the other scopes."""
    relative_lr: float = 1.0
    """Peak learning rate as a fraction of the recipe's."""
    schedule: Schedule = "falling"
    """Whether the learning rate rises before it falls, as a recipe's does, or only falls."""
    distillation: bool = False
    """Whether the original teaches; only ever in class scope."""
    distillation_weight: float = 1.0
    """Weight of the teacher beside the labels."""
    temperature: float = 4.0
    """Softness of the teacher."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "keep": 0 <= self.keep <= 1,
            "epochs": self.epochs >= 1,
            "instance_epochs": self.instance_epochs >= 1,
            "relative_lr": 0 < self.relative_lr <= 10,
            "distillation_weight": 0 < self.distillation_weight <= 100,
            "temperature": 0 < self.temperature <= 100,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the recovered model."""
        with seeded(derive_seed(problem.seed, "perturbation"), problem.device):
            model = self._perturbed(problem)
        settings = problem.settings
        recipe = replace(
            settings,
            epochs=self.epochs if problem.scope == "class" else self.instance_epochs,
            peak_lr=settings.peak_lr * self.relative_lr,
        )
        weight = self.distillation_weight if self.distillation else 0.0
        return fit(
            model,
            problem.retain,
            recipe,
            seed=problem.seed,
            loss=recovery_loss(problem, weight, self.temperature),
            schedule=self.schedule,
            phase=self.name,
            progress=problem.progress,
            cancel=problem.cancel,
        )

    def _perturbed(self, problem: Problem) -> nn.Module:
        model = problem.copy_model()
        if self.perturb == "fresh":
            reinitialise(model)
        elif self.perturb != "transposed" or not transpose_kernels(model):
            if self.perturb == "shrunk":
                shrink_towards_fresh(model, self.keep)
            stage = find_last_stage(model, problem.classifier)
            reinitialise(model if stage is None else stage)
            reinitialise(find_module(model, problem.classifier))
        return model


@torch.no_grad()
def shrink_towards_fresh(model: nn.Module, keep: float) -> None:
    """Replace all trainable weights w, in place, by keep · w + (1 − keep) · freshly drawn ones."""
    fresh = copy.deepcopy(model)
    reinitialise(fresh)
    for weight, drawn in zip(model.parameters(), fresh.parameters(), strict=True):
        weight.lerp_(drawn, 1 - keep)


@torch.no_grad()
def transpose_kernels(model: nn.Module) -> bool:
    """Swap the spatial axes of all trainable square kernels larger than 1x1, in place.

    Returns False, and changes nothing, where fewer than a tenth of the trainable linear layers
    and convolutions have such kernels: too little would be perturbed (transformers, MLPs).
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.requires_grad
    ]
    spatial = [
        layer
        for layer in layers
        if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] == layer.kernel_size[1] > 1
    ]
    if len(spatial) < _FEWEST_KERNELS * len(layers) or not spatial:
        return False
    for layer in spatial:
        layer.weight.copy_(layer.weight.transpose(2, 3).clone())
    return True


def reinitialise(module: nn.Module) -> None:
    """Draw all trainable weights below `module` anew, in place, by their layers' own rule.

    Statistics of batch norms start anew with them. Parameters that no layer can initialise
    (class tokens, layer scales) keep their values.
    """
    for part in module.modules():
        own = list(part.parameters(recurse=False))
        if not all(parameter.requires_grad for parameter in own):
            continue
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
