"""Retraining: the exact method, and what all others are measured against."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from unlearning.errors import InvalidProblem
from unlearning.methods.contract import Method
from unlearning.problem import Problem
from unlearning.training import train_from_recipe


@dataclass(frozen=True, kw_only=True)
class Retrain(Method):
    """Train a fresh network by the model's recipe on the retain set."""

    name: ClassVar[str] = "retrain"
    version: ClassVar[str] = "1"

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the retrained model.

        Raises:
            InvalidProblem: when the problem has no recipe or no way to build the network.
        """
        if problem.recipe is None or problem.build is None:
            raise InvalidProblem("retraining needs the model's recipe and a way to build it")
        return train_from_recipe(
            problem.build,
            problem.retain,
            problem.recipe,
            seed=problem.seed,
            phase=self.name,
            progress=problem.progress,
            cancel=problem.cancel,
        )
