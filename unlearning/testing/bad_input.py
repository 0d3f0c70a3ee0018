"""Problems that are small, odd or hopeless: a method works on them or says why not."""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch

from unlearning.errors import NonFiniteLoss
from unlearning.problem import Problem
from unlearning.recipe import Recipe
from unlearning.testing.contract import (
    UnlearningMethod,
    check_refused,
    check_result,
    demand,
    demand_same,
    snapshot,
)
from unlearning.testing.toys import mlp, toy_problem

HOPELESS_LR = 1e30
"""A learning rate that no network survives."""
HALF = (torch.float16, torch.bfloat16)


def check_bad_input(
    make: Callable[[], UnlearningMethod], *, trains_given_weights: bool = True
) -> None:
    """Check sets that are too small, a learning rate that is too large, and half precision.

    Args:
        make: Makes the method.
        trains_given_weights: Whether the result comes from the problem's weights; retraining, which
            builds its own network, has no use for them.
    """
    check_divergence(make())
    check_small_retain_set(make())
    check_one_sample(make())
    check_single_sample_tail(make())
    for dtype in HALF:
        check_half_precision(make(), dtype)
    if trains_given_weights:
        check_mostly_frozen(make())
        check_all_frozen(make())


def check_divergence(method: UnlearningMethod) -> None:
    """Check that a hopeless learning rate ends in NonFiniteLoss, the original untouched.

    A method that has no use for a learning rate gives what it gives under any.
    """
    problem = toy_problem(mlp)
    recipe = replace(problem.settings, peak_lr=HOPELESS_LR)
    before = snapshot(problem)
    try:
        result = method(replace(problem, recipe=recipe))
    except NonFiniteLoss as refusal:
        demand(bool(str(refusal)), "NonFiniteLoss says nothing")
    else:
        usual, odd = method(problem).state_dict(), result.state_dict()
        same = all(torch.equal(usual[name], odd[name]) for name in usual)
        demand(same, "training with a hopeless learning rate did not end in NonFiniteLoss")
    demand_same(before, snapshot(problem))


def check_small_retain_set(method: UnlearningMethod) -> None:
    """Check a retain set of fewer samples than a batch, one of each class.

    A method that weighs F against all samples may then find nothing to change.
    """
    problem = toy_problem()
    kept = torch.arange(len(problem.retained_classes))
    retain = problem.retain.subset(kept)
    demand(len(retain) < problem.settings.batch_size, "the retain set is no small one; test broken")
    check_result(method, replace(problem, retain=retain), must_change=False)


def check_one_sample(method: UnlearningMethod) -> None:
    """Check that one sample can be asked for: one of many, or all that there is of its class."""
    problem = toy_problem()
    last = replace(problem, forget=problem.forget.subset(torch.arange(1)))
    demand(last.scope == "class", "the last sample of a class is another scope; test broken")
    check_result(method, last)
    one, rest = problem.retain.subset(torch.arange(1)), problem.retain.subset(torch.arange(1, 30))
    check_if_declared(method, replace(problem, forget=one, retain=rest))


def check_single_sample_tail(method: UnlearningMethod) -> None:
    """Check sets whose last batch has one sample, which batch norm cannot learn from."""
    recipe = Recipe(epochs=2, batch_size=3, peak_lr=0.02, shift=1)
    problem = toy_problem(num_train=40, recipe=recipe)
    demand(len(problem.forget) % 3 == 1, "the forget set has no such batch; test broken")
    check_result(method, problem)


def check_half_precision(method: UnlearningMethod, dtype: torch.dtype) -> None:
    """Check that a model in half precision comes back so, and equals its float32 twin rounded."""
    problem = toy_problem()
    half = copy.deepcopy(problem.model).to(dtype)
    result = check_result(method, replace(problem, model=half))
    twin = method(replace(problem, model=copy.deepcopy(half).float())).state_dict()
    for name, value in result.state_dict().items():
        if value.is_floating_point():
            demand(torch.equal(value, twin[name].to(dtype)), f"{name} was not worked on in float32")


def check_mostly_frozen(method: UnlearningMethod, dtype: torch.dtype = torch.float32) -> None:
    """Check a model of which only the classifier may change, with weights that fill their type."""
    problem = toy_problem()
    model = copy.deepcopy(problem.model).to(dtype).requires_grad_(requires_grad=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 2 * torch.finfo(dtype).eps)
    model.get_submodule(problem.classifier).requires_grad_()
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    result = dict(method(replace(problem, model=model)).named_parameters())
    for name, before in frozen.items():
        demand(torch.equal(result[name], before), f"the frozen parameter {name} was changed")


def check_all_frozen(method: UnlearningMethod) -> None:
    """Check that a model of which nothing may change is refused."""
    problem = toy_problem()
    model = copy.deepcopy(problem.model).requires_grad_(requires_grad=False)
    check_refused(method, replace(problem, model=model), "frozen")


def check_if_declared(method: UnlearningMethod, problem: Problem) -> None:
    """Check the result where the method declares the problem's scope, the refusal elsewhere."""
    if problem.scope in getattr(method, "scopes", (problem.scope,)):
        check_result(method, problem)
    else:
        check_refused(method, problem, f"{problem.scope} scope")
