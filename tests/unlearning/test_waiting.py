"""A training step waits for the device only where it says so, and compiles where it can."""

import copy
import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from unlearning import compilation
from unlearning.data import TensorImages
from unlearning.methods import METHODS, get_method
from unlearning.randomness import generator, seeded
from unlearning.recipe import Recipe
from unlearning.testing import mlp, small_cnn, toy_images, toy_problem
from unlearning.training import (
    Batch,
    Walk,
    _Stepper,
    cross_entropy,
    fit,
    walk_batches,
)

RECIPE = Recipe(epochs=3, batch_size=8, peak_lr=0.05, clip_norm=0.5, shift=0)

_WAITING = {
    Tensor.item,
    Tensor.tolist,
    Tensor.numpy,
    Tensor.cpu,
    Tensor.nonzero,
    Tensor.masked_select,
    torch.nonzero,
    torch.masked_select,
    torch.equal,
    Tensor.equal,
    Tensor.__bool__,
    Tensor.__float__,
    Tensor.__int__,
    Tensor.__index__,
    torch.tensor,
    torch.as_tensor,
}
"""Python calls that make the host wait for a CUDA device."""


class _Calls(TorchFunctionMode):
    """Counts the calls that would wait, and refuses copies to a device that would."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: Counter[str] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func in _WAITING:
            self.waiting[func.__name__] += 1
        ours = sys._getframe(1).f_globals["__name__"].startswith(("unlearning", __name__))
        # torch's own code moves what is already there
        if ours and func is Tensor.to and any(isinstance(x, torch.device | str) for x in args[1:]):
            assert kwargs.get("non_blocking"), f"a copy that is waited for: {args[1:]}"
        return func(*args, **kwargs)


class _Scalars(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    """Counts the scalars that torch's own code reads from tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self.read = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        self.read += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("check_every", [1, 4])
@pytest.mark.parametrize("flip", [False, True])
def test_steps_wait_for_the_device_only_to_look_at_the_flag(
    check_every: int, flip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearning.training._look_every", lambda _device: check_every)
    recipe = replace(RECIPE, shift=1, flip=flip)
    images, steps = toy_images(40), RECIPE.epochs * 5
    with seeded(0):
        model = small_cnn()
    with _Scalars() as scalars, _Calls() as calls:
        fit(model, images, recipe, seed=0)
    looks = math.ceil(steps / check_every) + 1
    assert calls.waiting == {"item": looks}
    assert scalars.read == looks


def test_the_guard_against_waiting_sees_what_waits() -> None:
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        value = cross_entropy()(model, batch)
        float(value.detach())
        return value

    model, images = mlp(), toy_images(8)
    with _Scalars() as scalars, _Calls() as calls:
        fit(model, images, RECIPE, seed=0, loss=loss)
    assert calls.waiting == {"item": 4, "__float__": 3}
    assert scalars.read == 7
    with _Calls(), pytest.raises(AssertionError, match="waited for"):
        torch.ones(1).to(torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in sorted(set(METHODS) - {"ssd"})),
        ("muda", {"distillation": True, "alternate": "batch"}),
        ("distilled_recovery", {"distillation": True}),
    ],
)
def test_no_step_of_a_method_waits_but_to_look_at_the_flag(
    name: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    take, steps = _Stepper.step, 0
    seen: Counter[str] = Counter()

    def watched(stepper: _Stepper, walk: Walk, batch: Batch) -> None:
        nonlocal steps, seen
        steps += 1
        with _Scalars() as scalars, _Calls() as calls:
            take(stepper, walk, batch)
        seen += calls.waiting
        assert scalars.read == calls.waiting["item"]

    monkeypatch.setattr(_Stepper, "step", watched)
    get_method(name, **options)(toy_problem(num_train=40, recipe=RECIPE))
    assert seen == {"item": steps} != {}


@pytest.mark.slow
def test_a_compiled_pass_trains_the_same_model_up_to_rounding() -> None:
    if reason := compilation.obstacle("cpu"):
        pytest.skip(reason)
    with seeded(1):
        model = small_cnn()
    plain = fit(copy.deepcopy(model), toy_images(26), RECIPE, seed=5)
    fast = fit(model, toy_images(26), RECIPE, seed=5, loss=cross_entropy(compile_pass=True))
    assert not any(type(module).__name__ == "OptimizedModule" for module in fast.modules())
    for (name, a), b in zip(plain.state_dict().items(), fast.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5, msg=name)


def test_without_a_compiler_the_pass_is_plain_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "obstacle", lambda _device: "no C++ compiler")
    with seeded(1):
        model = small_cnn()
    plain = fit(copy.deepcopy(model), toy_images(26), RECIPE, seed=5)
    with pytest.warns(RuntimeWarning, match="no C\\+\\+ compiler") as warned:
        same = fit(model, toy_images(26), RECIPE, seed=5, loss=cross_entropy(compile_pass=True))
    assert len(warned) == 1
    for a, b in zip(plain.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)


def _on_cuda() -> TensorImages:
    images = toy_images(64)
    return TensorImages(images.images, images.labels, 4, images.mean, images.std, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_steps_on_cuda_wait_only_to_look_at_the_flag() -> None:
    recipe = replace(RECIPE, epochs=10, shift=1, flip=True)
    model, moved = small_cnn().to("cuda"), _on_cuda()
    fit(model, moved, recipe, seed=0)
    stepper = _Stepper(model, recipe, 80, "one_cycle", moved.device)
    walk = Walk(images=moved, loss=cross_entropy())
    torch.cuda.set_sync_debug_mode("error")
    try:
        stepper.taken = 1  # step 0 looks
        for batch in itertools.islice(walk_batches(walk.images, recipe, generator(0)), 8):
            stepper.step(walk, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    stepper.check()
