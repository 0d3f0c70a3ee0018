"""Every registered method keeps the contract, and the checks of the contract see it broken."""

import copy
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from unlearning.errors import InvalidProblem, NonFiniteLoss
from unlearning.methods import METHODS, FineTune, Method, get_method
from unlearning.problem import Problem, Scope
from unlearning.testing import (
    check_forgets,
    check_frozen_layers,
    check_input_untouched,
    check_method,
    check_result,
    check_scopes,
    mlp,
    small_cnn,
    toy_problem,
    transformer,
)
from unlearning.testing.bad_input import (
    check_divergence,
    check_half_precision,
    check_mostly_frozen,
)

NO_PROMISE = {"finetune", "l1_sparse", "bad_teacher", "gradient_ascent", "unsir"}
"""Fine-tuning may leave a class as it was, a random teacher may prefer the very class, and two
methods are too careful by default for the few steps of the toy problems."""
FIT: dict[str, dict[str, object]] = {
    "gradient_ascent": {"beta": 2.0, "relative_lr": 1.0, "epochs": 20},
    "unsir": {"relative_lr": 4.0, "repair_epochs": 10},
}
"""Hyper-parameters with which these two forget a class in few steps."""


@pytest.mark.parametrize("name", sorted(METHODS))
def test_method_keeps_the_contract(name: str) -> None:
    check_method(
        lambda: get_method(name),
        forgets_classes=name not in NO_PROMISE,
        keeps_frozen_layers=name != "retrain",
    )


@pytest.mark.parametrize("name", sorted(FIT))
def test_careful_methods_forget_a_class_when_told_to(name: str) -> None:
    for build in (small_cnn, mlp):
        check_forgets(get_method(name, **FIT[name]), toy_problem(build))


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"retrain"}))
def test_method_runs_on_a_vision_transformer(name: str) -> None:
    problem = toy_problem(transformer, channels=3, side=32, num_train=16)
    shorter = {f.name: 1 for f in fields(METHODS[name]) if "epochs" in f.name or f.name == "group"}
    check_result(get_method(name, **shorter), problem)


@pytest.mark.parametrize(
    ("name", "option"), [("boundary", {"form": "expand"}), ("scrub", {"rewind": True})]
)
def test_the_other_form_of_a_method_keeps_the_contract_too(
    name: str, option: dict[str, object]
) -> None:
    for build in (small_cnn, mlp):
        problem = toy_problem(build, scope="mixed")
        check_result(get_method(name, **option), problem)
        check_input_untouched(get_method(name, **option), problem)
    check_frozen_layers(get_method(name, **option), problem)
    check_mostly_frozen(get_method(name, **option))


@dataclass(frozen=True, kw_only=True)
class _ClassesOnly(Method):
    name: ClassVar[str] = "classes_only"
    version: ClassVar[str] = "1"
    scopes: ClassVar[tuple[Scope, ...]] = ("class",)

    def __call__(self, problem: Problem) -> nn.Module:
        return FineTune(epochs=1)(problem)


@dataclass(frozen=True, kw_only=True)
class _Ruined(Method):
    name: ClassVar[str] = "ruined"
    version: ClassVar[str] = "1"
    value: float = float("inf")

    def __call__(self, problem: Problem) -> nn.Module:
        model = problem.copy_model().eval()
        with torch.no_grad():
            next(model.parameters()).fill_(self.value)
        return model


def test_a_scope_that_a_method_does_not_declare_is_refused_for_it() -> None:
    check_scopes(_ClassesOnly)
    with pytest.raises(InvalidProblem, match="defined for class scope only, and this is mixed"):
        _ClassesOnly()(toy_problem(scope="mixed"))


def test_the_check_of_scopes_sees_a_promise_that_is_not_kept() -> None:
    def make() -> Method:
        class Boasting(_ClassesOnly):
            scopes = ("class", "instance", "mixed")

            def __call__(self, problem: Problem) -> nn.Module:
                if problem.scope != "class":
                    raise ZeroDivisionError
                return super().__call__(problem)

        return Boasting()

    with pytest.raises(ZeroDivisionError):
        check_scopes(make)


def test_weights_that_are_not_finite_never_come_back() -> None:
    with pytest.raises(NonFiniteLoss, match=r"ruined left values in blocks.0.0.weight"):
        _Ruined()(toy_problem())


def test_a_float64_model_comes_back_in_float64_and_its_frozen_layers_to_the_bit() -> None:
    check_half_precision(FineTune(epochs=1), torch.float64)
    check_mostly_frozen(FineTune(epochs=1), torch.float64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_weight_that_half_precision_cannot_hold_is_an_error(dtype: torch.dtype) -> None:
    problem = toy_problem()
    given = replace(problem, model=copy.deepcopy(problem.model).to(dtype))
    method = _Ruined(value=3e38 if dtype is torch.float16 else 3.4028e38)
    with pytest.raises(NonFiniteLoss, match=f"not finite in {dtype}"):
        method(given)


def test_the_check_of_divergence_sees_a_method_that_goes_on_regardless() -> None:
    def careless(problem: Problem) -> nn.Module:
        model = problem.copy_model().eval()
        with torch.no_grad():
            next(model.parameters()).mul_(problem.settings.peak_lr)
        return model

    with pytest.raises(AssertionError, match="did not end in NonFiniteLoss"):
        check_divergence(careless)


def test_the_check_of_half_precision_sees_another_type() -> None:
    with pytest.raises(AssertionError, match="of another type than the original's"):
        check_half_precision(lambda problem: problem.copy_model().float().eval(), torch.bfloat16)
