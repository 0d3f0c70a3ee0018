"""Distilled recovery: break the weights, then relearn from the retain set, with a teacher or not.

Expunge's own. The default perturbation moves all weights part of the way to freshly drawn ones
(shrink and perturb, Ash and Adams, arXiv 1910.08475) and draws the last stage and the classifier
anew: what the forget set wrote there is gone, what all classes share comes back in fewer steps than
from nothing. Kernels transposed, stages alone and all fresh are options, and so is a masked
teacher in the recovery (docs/decisions/0003).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import nn

from unlearning.methods.contract import Method
from unlearning.methods.distillation import recovery_loss
from unlearning.methods.freezing import frozen_early
from unlearning.methods.perturbation import (
    reinitialise,
    restart_last_stage,
    shrink_towards_fresh,
    transpose_kernels,
)
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, seeded
from unlearning.settings import check_ranges, check_types
from unlearning.training import Schedule, fit


@dataclass(frozen=True, kw_only=True)
class DistilledRecovery(Method):
    """Perturb the weights, then cross-entropy and masked distillation on the retain set.

    When single samples are to be forgotten the original is no teacher (it leaks them), and the
    recovery is cross-entropy alone for `instance_relative_epochs`. Frozen parameters are neither
    perturbed nor trained.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "distilled_recovery"
    version: ClassVar[str] = "3"

    perturb: Literal["shrunk", "transposed", "stages", "fresh"] = "shrunk"
    """`shrunk`: move all weights towards fresh ones, then as `stages`; `transposed`: swap the
    spatial axes of all square kernels larger than 1x1, or `stages` where fewer than a tenth of the
    layers have such kernels; `stages`: initialise the last stage and the classifier anew; `fresh`:
    initialise everything anew."""
    keep: float = 0.5
    """What is kept of the old weights when they are `shrunk`; the rest is freshly drawn."""
    frozen_share: float = 0.0
    """Share of the layers before the last stage, the first ones, that keep their old weights and
    are not trained; only ever in class scope."""
    relative_epochs: float = 0.8
    """Walks over the retain set in class scope, as a share of the recipe's epochs."""
    instance_relative_epochs: float = 0.48
    """The same in the other scopes."""
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
            "frozen_share": 0 <= self.frozen_share <= 1,
            "relative_epochs": 0 < self.relative_epochs <= 10,
            "instance_relative_epochs": 0 < self.instance_relative_epochs <= 10,
            "relative_lr": 0 < self.relative_lr <= 10,
            "distillation_weight": 0 < self.distillation_weight <= 100,
            "temperature": 0 < self.temperature <= 100,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the recovered model."""
        model = problem.copy_model()
        settings = problem.settings
        whole = problem.scope == "class"
        share = self.relative_epochs if whole else self.instance_relative_epochs
        recipe = replace(
            settings,
            epochs=settings.epochs_of(share),
            peak_lr=settings.peak_lr * self.relative_lr,
        )
        weight = self.distillation_weight if self.distillation else 0.0
        with frozen_early(model, problem.classifier, self.frozen_share if whole else 0.0):
            with seeded(derive_seed(problem.seed, "perturbation"), problem.device):
                self._perturb(model, problem.classifier)
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

    def _perturb(self, model: nn.Module, classifier: str) -> None:
        if self.perturb == "fresh":
            reinitialise(model)
        elif self.perturb != "transposed" or not transpose_kernels(model):
            if self.perturb == "shrunk":
                shrink_towards_fresh(model, self.keep)
            restart_last_stage(model, classifier)
