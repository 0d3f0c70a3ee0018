"""The promises of the contract, one check for each."""

import contextlib
import copy
import io
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from unlearning.errors import Cancelled, InvalidProblem
from unlearning.features import extract
from unlearning.methods.contract import SCOPES
from unlearning.problem import Problem
from unlearning.progress import CancelToken, Progress
from unlearning.randomness import seeded
from unlearning.testing.toys import toy_problem

UnlearningMethod = Callable[[Problem], nn.Module]

_MOST_FORGET_ACCURACY = 0.5


def check_result(
    method: UnlearningMethod, problem: Problem, *, must_change: bool = True
) -> nn.Module:
    """Check that the result is a new model in eval mode of the same layout, finite and changed.

    Returns the result.
    """
    result = method(problem)
    before, after = problem.model.state_dict(), result.state_dict()
    same_types = all(before[name].dtype == after[name].dtype for name in before.keys() & after)
    demand(same_types, "the result's weights are of another type than the original's")
    demand(result is not problem.model, "the method returned its input instead of a new model")
    demand(not any(m.training for m in result.modules()), "the result is not in eval mode")
    demand(before.keys() == after.keys(), "the result's state dict has another layout")
    demand(
        all(torch.isfinite(tensor).all() for tensor in after.values()),
        "the result holds NaN or infinite values",
    )
    changed = any(not torch.equal(before[name], after[name]) for name in before)
    demand(changed or not must_change, "the weights did not change")
    shared = {p.data_ptr() for p in problem.model.parameters()}
    apart = all(p.data_ptr() not in shared for p in result.parameters())
    demand(apart, "the result shares memory with the input")
    return result


def check_input_untouched(method: UnlearningMethod, problem: Problem) -> None:
    """Check that weights, buffers, modes, gradients and random state are as before."""
    problem.model.train()
    try:
        before = snapshot(problem)
        method(problem)
        demand_same(before, snapshot(problem))
    finally:
        problem.model.eval()


def demand_same(before: list[tuple[str, object]], after: list[tuple[str, object]]) -> None:
    """Raise AssertionError where two snapshots differ."""
    for (what, old), (_, new) in zip(before, after, strict=True):
        if isinstance(old, Tensor) and isinstance(new, Tensor):
            same = torch.equal(old, new)
        else:
            same = old == new
        demand(same, f"the method changed its input or torch's global state: {what}")


def check_forgets(method: UnlearningMethod, problem: Problem) -> None:
    """Check that the forgotten class is recognised in less than half of its samples."""
    before = _accuracy(problem.model, problem)
    after = _accuracy(method(problem), problem)
    demand(before > _MOST_FORGET_ACCURACY, f"the toy model only reached {before:.2f}; test broken")
    demand(
        after < _MOST_FORGET_ACCURACY,
        f"accuracy on the forgotten class only fell from {before:.2f} to {after:.2f}",
    )


def check_deterministic(make: Callable[[], UnlearningMethod], problem: Problem) -> None:
    """Check that two runs agree to the bit, whatever torch's global random state."""
    first = make()(problem).state_dict()
    with seeded(12345):
        second = make()(problem).state_dict()
    same = all(torch.equal(first[name], second[name]) for name in first)
    demand(same, "two runs with the same seed gave different models")


def check_silent_with_progress(method: UnlearningMethod, problem: Problem) -> None:
    """Check that nothing is printed and that progress is reported in order."""
    reports: list[Progress] = []
    printed, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        method(replace(problem, progress=reports.append))
    demand(not printed.getvalue() + complained.getvalue(), "the method printed something")
    demand(bool(reports), "progress was never reported")
    steps = [(report.phase, report.step) for report in reports]
    in_order = all(a[0] != b[0] or a[1] < b[1] for a, b in pairwise(steps))
    demand(in_order, "progress went backwards")
    demand(all(0 < r.step <= r.total for r in reports), "progress left its range")


def check_cancellable(method: UnlearningMethod, problem: Problem) -> None:
    """Check that a token set beforehand or during the work stops it with Cancelled."""
    early, late = CancelToken(), CancelToken()
    early.cancel()
    for cancelled in (
        replace(problem, cancel=early),
        replace(problem, cancel=late, progress=lambda _: late.cancel()),
    ):
        try:
            method(cancelled)
        except Cancelled:
            continue
        raise AssertionError("the method ignored its cancel token")


def check_scopes(make: Callable[[], UnlearningMethod]) -> None:
    """Check every scope: those that the method declares work, others are refused by name.

    A method without `scopes` declares all three.
    """
    declared = getattr(make(), "scopes", SCOPES)
    for scope in SCOPES:
        problem = toy_problem(scope=scope)
        demand(problem.scope == scope, "the toy problem has another scope; test broken")
        if scope in declared:
            check_result(make(), problem)
        else:
            check_refused(make(), problem, f"{scope} scope")


def check_refused(method: UnlearningMethod, problem: Problem, word: str) -> None:
    """Check that a problem is refused with InvalidProblem and a sentence that holds a word."""
    try:
        method(problem)
    except InvalidProblem as refusal:
        demand(word in str(refusal), f"the refusal does not speak of {word}: {refusal}")
        return
    raise AssertionError(f"a problem that should be refused ({word}) was worked on")


def check_frozen_layers(method: UnlearningMethod, problem: Problem) -> None:
    """Check that parameters which need no gradients stay as they are."""
    model = copy.deepcopy(problem.model)
    first = next(model.parameters())
    first.requires_grad_(False)  # noqa: FBT003 - torch's signature
    result = method(replace(problem, model=model))
    name = next(name for name, _ in model.named_parameters())
    demand(torch.equal(result.state_dict()[name], first), "a frozen parameter was changed")


def snapshot(problem: Problem) -> list[tuple[str, object]]:
    """Return what no method may change: weights, modes, gradients, layout and random state."""
    model = problem.model
    parts: list[tuple[str, object]] = [("random state", torch.get_rng_state())]
    parts += [(name, tensor.clone()) for name, tensor in model.state_dict().items()]
    parts += [(f"mode of {name}", module.training) for name, module in model.named_modules()]
    for name, parameter in model.named_parameters():
        parts.append((f"requires_grad of {name}", parameter.requires_grad))
        parts.append((f"gradient of {name}", parameter.grad is None))
        parts.append((f"layout of {name}", parameter.stride()))
    return parts


def _accuracy(model: nn.Module, problem: Problem) -> float:
    logits = extract(model, problem.forget, problem.classifier, stages=False).logits
    return float((logits.argmax(1) == problem.forget.labels).float().mean())


def demand(holds: bool, sentence: str) -> None:
    """Raise AssertionError with the sentence unless it holds."""
    if not holds:
        raise AssertionError(sentence)
