"""What every unlearning method is: frozen hyper-parameters, called with a problem."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import ClassVar

from torch import nn

from unlearning.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """An unlearning algorithm with its hyper-parameters.

    Calling it returns a new model in eval mode on the problem's device. It never changes its
    input, prints, saves or evaluates; its result depends on the problem and its seed alone.
    `unlearning.testing.check_method` checks all that.
    """

    name: ClassVar[str]
    """How the method is asked for; stable."""
    version: ClassVar[str]
    """Changes whenever equal hyper-parameters give another result."""

    @abstractmethod
    def __call__(self, problem: Problem) -> nn.Module:
        """Return a new model that has forgotten the problem's forget set."""

    @property
    def hyperparameters(self) -> dict[str, object]:
        """The hyper-parameters as JSON values."""
        return asdict(self)
