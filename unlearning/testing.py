"""The contract that every unlearning method keeps, as checks for anybody's own method.

`check_method` raises AssertionError with a plain sentence at the first breach. It needs no test
framework and, with the small networks here, a few seconds.
"""

import contextlib
import copy
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from unlearning.data import TensorImages
from unlearning.errors import Cancelled
from unlearning.features import extract
from unlearning.networks import MLP, SmallCNN, classifier_name
from unlearning.problem import Problem
from unlearning.progress import CancelToken, Progress
from unlearning.randomness import generator, seeded
from unlearning.recipe import Recipe
from unlearning.training import train_from_recipe

UnlearningMethod = Callable[[Problem], nn.Module]
NetworkBuilder = Callable[[], nn.Module]

NUM_CLASSES = 4
SIDE = 8
FORGOTTEN_CLASS = 2
_MOST_FORGET_ACCURACY = 0.5


def toy_images(number: int, seed: int = 0, channels: int = 1, side: int = SIDE) -> TensorImages:
    """Draw noisy images of four classes that differ in which quarter is bright."""
    draws = generator(seed, "toy images")
    labels = torch.arange(number) % NUM_CLASSES
    pixels = torch.rand((number, channels, side, side), generator=draws) * 120
    half = side // 2
    for label in range(NUM_CLASSES):
        top, left = label // 2 * half, label % 2 * half
        members = (labels == label).nonzero()[:, 0]
        pixels[members, :, top : top + half, left : left + half] += 100
    mean, std = [0.3] * channels, [0.2] * channels
    return TensorImages(pixels.round().to(torch.uint8), labels, NUM_CLASSES, mean, std)


def toy_problem(
    build: NetworkBuilder | None = None,
    *,
    scope: str = "class",
    channels: int = 1,
    side: int = SIDE,
    num_train: int = 96,
    recipe: Recipe | None = None,
    seed: int = 0,
) -> Problem:
    """Train a small network on toy images and ask to forget a class, some samples, or both.

    Args:
        build: Makes the untrained network; a small convolutional one by default.
        scope: `class`: class 2; `instance`: five samples; `mixed`: class 2 and five samples.
        channels: Colour channels of the images.
        side: Height and width of the images.
        num_train: Size of the training set.
        recipe: How to train; six epochs by default.
        seed: Of data, training and problem.
    """
    recipe = recipe or Recipe(epochs=6, batch_size=16, peak_lr=0.05, shift=0)
    build = build or small_cnn
    train = toy_images(num_train, seed, channels, side)
    model = train_from_recipe(build, train, recipe, seed=seed)
    whole = train.labels == FORGOTTEN_CLASS
    some = torch.zeros_like(whole)
    some[(~whole).nonzero()[:5, 0]] = True
    asked = {"class": whole, "instance": some, "mixed": whole | some}[scope]
    return Problem(
        model=model,
        forget=train.subset(asked.nonzero()[:, 0]),
        retain=train.subset((~asked).nonzero()[:, 0]),
        holdout=toy_images(40, seed + 1, channels, side),
        classifier=classifier_name(model),
        num_classes=NUM_CLASSES,
        seed=seed,
        recipe=recipe,
        build=build,
    )


def small_cnn() -> nn.Module:
    """Build the small convolutional network for toy images."""
    return SmallCNN(NUM_CLASSES, channels=(8, 16, 16))


def mlp() -> nn.Module:
    """Build a network without convolutions and with several linear layers."""
    return MLP(NUM_CLASSES, in_features=SIDE * SIDE, hidden=(32, 16))


def check_method(
    make: Callable[[], UnlearningMethod],
    *,
    forgets_classes: bool = True,
    keeps_frozen_layers: bool = True,
    networks: Sequence[NetworkBuilder] = (small_cnn, mlp),
) -> None:
    """Check a method against the contract on small problems.

    Args:
        make: Makes the method, with hyper-parameters fit for the toy problems.
        forgets_classes: Whether the method promises that a class is forgotten; fine-tuning
            for example does not.
        keeps_frozen_layers: Whether parameters that need no gradients stay; retraining, which
            builds its own network, does not keep them.
        networks: Architectures to run it on.

    Raises:
        AssertionError: telling which promise was broken.
    """
    for build in networks:
        problem = toy_problem(build)
        check_result(make(), problem)
        check_input_untouched(make(), problem)
        if forgets_classes:
            check_forgets(make(), problem)
    problem = toy_problem()
    check_deterministic(make, problem)
    check_silent_with_progress(make(), problem)
    check_cancellable(make(), problem)
    check_scopes(make)
    check_single_sample_tail(make())
    if keeps_frozen_layers:
        check_frozen_layers(make(), problem)


def check_result(method: UnlearningMethod, problem: Problem) -> None:
    """Check that the result is a new model in eval mode of the same layout, finite and changed."""
    result = method(problem)
    before, after = problem.model.state_dict(), result.state_dict()
    _demand(result is not problem.model, "the method returned its input instead of a new model")
    _demand(not any(m.training for m in result.modules()), "the result is not in eval mode")
    _demand(before.keys() == after.keys(), "the result's state dict has another layout")
    _demand(
        all(torch.isfinite(tensor).all() for tensor in after.values()),
        "the result holds NaN or infinite values",
    )
    changed = any(not torch.equal(before[name], after[name]) for name in before)
    _demand(changed, "the weights did not change")
    shared = {p.data_ptr() for p in problem.model.parameters()}
    apart = all(p.data_ptr() not in shared for p in result.parameters())
    _demand(apart, "the result shares memory with the input")


def check_input_untouched(method: UnlearningMethod, problem: Problem) -> None:
    """Check that weights, buffers, modes, gradients and random state are as before."""
    problem.model.train()
    try:
        before = _snapshot(problem)
        method(problem)
        after = _snapshot(problem)
    finally:
        problem.model.eval()
    for (what, old), (_, new) in zip(before, after, strict=True):
        if isinstance(old, Tensor) and isinstance(new, Tensor):
            same = torch.equal(old, new)
        else:
            same = old == new
        _demand(same, f"the method changed its input or torch's global state: {what}")


def check_forgets(method: UnlearningMethod, problem: Problem) -> None:
    """Check that the forgotten class is recognised in less than half of its samples."""
    before = _accuracy(problem.model, problem)
    after = _accuracy(method(problem), problem)
    _demand(before > _MOST_FORGET_ACCURACY, f"the toy model only reached {before:.2f}; test broken")
    _demand(
        after < _MOST_FORGET_ACCURACY,
        f"accuracy on the forgotten class only fell from {before:.2f} to {after:.2f}",
    )


def check_deterministic(make: Callable[[], UnlearningMethod], problem: Problem) -> None:
    """Check that two runs agree to the bit, whatever torch's global random state."""
    first = make()(problem).state_dict()
    with seeded(12345):
        second = make()(problem).state_dict()
    same = all(torch.equal(first[name], second[name]) for name in first)
    _demand(same, "two runs with the same seed gave different models")


def check_silent_with_progress(method: UnlearningMethod, problem: Problem) -> None:
    """Check that nothing is printed and that progress is reported in order."""
    reports: list[Progress] = []
    printed, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        method(replace(problem, progress=reports.append))
    _demand(not printed.getvalue() + complained.getvalue(), "the method printed something")
    _demand(bool(reports), "progress was never reported")
    steps = [(report.phase, report.step) for report in reports]
    in_order = all(a[0] != b[0] or a[1] < b[1] for a, b in pairwise(steps))
    _demand(in_order, "progress went backwards")
    _demand(all(0 < r.step <= r.total for r in reports), "progress left its range")


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
    """Check that single samples, and classes and samples together, can be asked for."""
    for scope in ("instance", "mixed"):
        problem = toy_problem(scope=scope)
        _demand(problem.scope == scope, "the toy problem has another scope; test broken")
        check_result(make(), problem)


def check_single_sample_tail(method: UnlearningMethod) -> None:
    """Check sets whose last batch has one sample, and a forget set of one sample."""
    recipe = Recipe(epochs=2, batch_size=3, peak_lr=0.02, shift=1)
    problem = toy_problem(num_train=40, recipe=recipe)
    check_result(method, problem)
    one, rest = problem.retain.subset(torch.arange(1)), problem.retain.subset(torch.arange(1, 30))
    check_result(method, replace(problem, forget=one, retain=rest))


def check_frozen_layers(method: UnlearningMethod, problem: Problem) -> None:
    """Check that parameters which need no gradients stay as they are."""
    model = copy.deepcopy(problem.model)
    first = next(model.parameters())
    first.requires_grad_(False)  # noqa: FBT003 - torch's signature
    result = method(replace(problem, model=model))
    name = next(name for name, _ in model.named_parameters())
    _demand(torch.equal(result.state_dict()[name], first), "a frozen parameter was changed")


def _snapshot(problem: Problem) -> list[tuple[str, object]]:
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


def _demand(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)
