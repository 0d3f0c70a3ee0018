"""What every unlearning method is: frozen hyper-parameters, called with a problem."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import wraps
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearning.errors import InvalidProblem, NonFiniteLoss
from unlearning.problem import Problem, Scope

SCOPES: tuple[Scope, ...] = ("class", "instance", "mixed")


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """An unlearning algorithm with its hyper-parameters.

    Calling it returns a new model in eval mode on the problem's device. It never changes its
    input, prints, saves or evaluates; its result depends on the problem and its seed alone.
    `unlearning.testing.check_method` checks all that.

    Three promises are kept here for all subclasses, around their `__call__`: a scope that the
    method is not defined for is refused, models of another float type are worked on in float32 and
    come back in their own, and weights that are not finite never come back.
    """

    name: ClassVar[str]
    """How the method is asked for; stable."""
    version: ClassVar[str]
    """Changes whenever equal hyper-parameters give another result."""
    scopes: ClassVar[tuple[Scope, ...]] = SCOPES
    """What the method can forget."""

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - whatever a base class takes
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls):
            cls.__call__ = _guarded(cls.__call__)  # type: ignore[assignment]

    @abstractmethod
    def __call__(self, problem: Problem) -> nn.Module:
        """Return a new model that has forgotten the problem's forget set.

        Raises:
            InvalidProblem: when the problem's scope is not among the method's `scopes`.
            NonFiniteLoss: when the work diverges, or a weight does not fit the model's float type.
            Cancelled: when the problem's token was set.
        """

    @property
    def hyperparameters(self) -> dict[str, object]:
        """The hyper-parameters as JSON values."""
        return asdict(self)


def _guarded(
    call: Callable[[Any, Problem], nn.Module],
) -> Callable[[Any, Problem], nn.Module]:
    """Put the checks and the conversions of every method around its own work."""

    @wraps(call)
    def guarded(self: Method, problem: Problem) -> nn.Module:
        if problem.scope not in self.scopes:
            raise InvalidProblem(
                f"{self.name} is defined for {' and '.join(self.scopes)} scope only, and this is "
                f"{problem.scope} scope: choose another method for it"
            )
        model = call(self, _in_float32(problem))
        _restore_types(model, problem.model)
        _check_finite(model, self.name)
        return model

    return guarded


def _in_float32(problem: Problem) -> Problem:
    """Return the problem with a float32 copy of its model; the same where it is so already.

    Steps of a small learning rate are lost in half precision, and images are float32.
    """
    if all(tensor.dtype == torch.float32 for _, tensor in _floats(problem.model)):
        return problem
    build = problem.build
    return replace(
        problem,
        model=copy.deepcopy(problem.model).float(),
        build=None if build is None else lambda: build().float(),
    )


@torch.no_grad()
def _restore_types(model: nn.Module, original: nn.Module) -> None:
    """Give the model's tensors the float types of the original's of the same names, in place.

    What the work left alone comes back to the bit, where its type holds more than float32 as well.
    """
    given = dict(_floats(original))
    for name, tensor in _floats(model):
        old = given.get(name, tensor)
        if old.dtype != tensor.dtype:
            same = old.shape == tensor.shape and torch.equal(tensor, old.to(tensor))
            tensor.grad = None  # a gradient must be of its parameter's type
            tensor.data = old.to(tensor.device, copy=True) if same else tensor.data.to(old.dtype)


def _check_finite(model: nn.Module, name: str) -> None:
    for where, tensor in _floats(model):
        if not torch.isfinite(tensor).all():
            raise NonFiniteLoss(
                f"{name} left values in {where} that are not finite in {tensor.dtype}. "
                "A lower learning rate, or float32 weights, help."
            )


def _floats(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for named in (model.named_parameters(), model.named_buffers()):
        yield from ((name, tensor) for name, tensor in named if tensor.is_floating_point())
