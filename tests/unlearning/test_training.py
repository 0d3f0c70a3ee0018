"""The training loop equals a slow, obvious one, repeats itself, and stops before harm is done."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from unlearning.data import TensorImages
from unlearning.errors import Cancelled, InvalidProblem, NonFiniteLoss
from unlearning.networks import build_network
from unlearning.progress import CancelToken, Progress
from unlearning.randomness import derive_seed, generator, seeded
from unlearning.recipe import Recipe
from unlearning.testing import mlp, small_cnn, toy_images
from unlearning.training import (
    Batch,
    Epoch,
    Walk,
    cross_entropy,
    falling,
    fit,
    one_cycle,
    split,
    train,
    train_from_recipe,
)

RECIPE = Recipe(epochs=3, batch_size=8, peak_lr=0.05, clip_norm=0.5, shift=0)


def _slow_reference(model: nn.Module, recipe: Recipe, seed: int) -> nn.Module:
    """Train with hand-written momentum descent, one tensor at a time."""
    images = toy_images(26)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    sizes = [8, 8, 8, 2]
    step, total = 0, recipe.epochs * len(sizes)
    model.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(26, generator=generator(seed, "epoch", epoch, 0))
        start = 0
        for size in sizes:
            index = order[start : start + size]
            start += size
            loss = functional.cross_entropy(model(images.batch(index)), images.labels[index])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
            shorter = min(1.0, recipe.clip_norm / float(norm))
            lr = recipe.peak_lr * one_cycle(step, total)
            with torch.no_grad():
                for p, g, v in zip(model.parameters(), gradients, velocity, strict=True):
                    g = g * shorter + recipe.weight_decay * p  # noqa: PLW2901 - the usual names
                    v.mul_(recipe.momentum).add_(g)
                    p.sub_(lr * (g + recipe.momentum * v))
            step += 1
    return model.eval()


@pytest.mark.parametrize("build", [small_cnn, mlp])
def test_loop_equals_a_slow_reference(build: type[nn.Module]) -> None:
    with seeded(1):
        model = build()
    slow = _slow_reference(copy.deepcopy(model), RECIPE, seed=5)
    fast = fit(model, toy_images(26), RECIPE, seed=5)
    for (name, a), b in zip(slow.state_dict().items(), fast.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5, msg=name)


def test_training_repeats_itself_to_the_bit_and_leaves_the_global_state() -> None:
    recipe = replace(RECIPE, shift=1, flip=True)
    before = torch.get_rng_state()
    first = train_from_recipe(small_cnn, toy_images(26), recipe, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(99):
        second = train_from_recipe(small_cnn, toy_images(26), recipe, seed=3)
    other = train_from_recipe(small_cnn, toy_images(26), recipe, seed=4)
    a, b, c = (m.state_dict() for m in (first, second, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["head.weight"], c["head.weight"])


def test_dropout_is_seeded_too() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 4))

    first, second = (train_from_recipe(build, toy_images(20), RECIPE, seed=3) for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_result_is_contiguous_and_in_eval_mode() -> None:
    model = train_from_recipe(small_cnn, toy_images(16), RECIPE, seed=0)
    assert not any(module.training for module in model.modules())
    assert all(p.is_contiguous() for p in model.parameters())


@pytest.mark.parametrize("check_every", [1, 4])
def test_non_finite_loss_stops_before_the_weights_are_spoilt(
    check_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearning.training._look_every", lambda _device: check_every)
    steps = 0

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal steps
        steps += 1
        value = functional.cross_entropy(model(batch.images), batch.labels)
        return value * torch.nan if steps == 3 else value

    with seeded(0):
        model = small_cnn()
    with pytest.raises(NonFiniteLoss, match="lower learning rate"):
        fit(model, toy_images(64), RECIPE, seed=0, loss=loss)
    assert steps <= 3 + check_every
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_infinite_gradient_of_a_finite_loss_stops_too() -> None:
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        logits: Tensor = model(batch.images)
        return (logits - logits.detach()).abs().sum().sqrt()

    model = mlp()
    with pytest.raises(NonFiniteLoss, match="step 1 of"):
        fit(model, toy_images(16), RECIPE, seed=0, loss=loss)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_cancelled_training_stops_at_the_next_step() -> None:
    token, seen = CancelToken(), 0

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal seen
        seen += 1
        token.cancel()
        return cross_entropy()(model, batch)

    with pytest.raises(Cancelled):
        fit(mlp(), toy_images(64), RECIPE, seed=0, loss=loss, cancel=token)
    assert seen == 1


def test_progress_reaches_its_total() -> None:
    reports: list[Progress] = []
    fit(mlp(), toy_images(64), RECIPE, seed=0, phase="here", progress=reports.append)
    assert reports[-1] == Progress("here", 24, 24, "epoch 3 of 3")
    assert len(reports) == 3


def test_frozen_model_is_refused() -> None:
    model = mlp().requires_grad_(requires_grad=False)
    with pytest.raises(InvalidProblem, match="frozen"):
        fit(model, toy_images(8), RECIPE, seed=0)


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    model = small_cnn()
    norm = model.get_submodule("blocks.0.1").requires_grad_(requires_grad=False)
    before = norm.state_dict()["running_mean"].clone()
    fit(model, toy_images(16), RECIPE, seed=0)
    assert torch.equal(norm.state_dict()["running_mean"], before)
    assert model.get_submodule("blocks.1.1").state_dict()["running_mean"].any()


def test_walk_without_batch_statistics_leaves_them() -> None:
    model = small_cnn()
    walk = Walk(images=toy_images(16), loss=cross_entropy(), batch_statistics=False)
    train(model, [Epoch(walks=[walk])], RECIPE, seed=0)
    assert not model.get_submodule("blocks.0.1").state_dict()["running_mean"].any()


def test_a_set_of_one_sample_can_be_trained_on() -> None:
    fit(small_cnn(), toy_images(1), RECIPE, seed=0)


@pytest.mark.parametrize(("interleaved", "order"), [(False, "aabbbb"), (True, "babbab")])
def test_walks_follow_each_other_or_take_turns(interleaved: bool, order: str) -> None:
    seen = ""

    def named(name: str) -> Walk:
        def loss(model: nn.Module, batch: Batch) -> Tensor:
            nonlocal seen
            seen += name
            return cross_entropy()(model, batch)

        return Walk(images=toy_images(16 if name == "a" else 32), loss=loss)

    train(mlp(), [Epoch(walks=[named("a"), named("b")], interleaved=interleaved)], RECIPE, seed=0)
    assert seen == order


def test_relative_learning_rate_of_zero_moves_nothing() -> None:
    model = mlp()
    before = [p.clone() for p in model.parameters()]
    walk = Walk(images=toy_images(16), loss=cross_entropy(), relative_lr=0.0)
    train(model, [Epoch(walks=[walk])], RECIPE, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@given(length=st.integers(1, 500), size=st.integers(1, 70))
def test_batches_cover_the_set_and_have_no_short_tail(length: int, size: int) -> None:
    sizes = split(length, size)
    assert sum(sizes) == length
    assert max(sizes) * 4 < size * 5 or max(sizes) == size
    assert min(sizes) * 4 >= size or len(sizes) == 1


def test_learning_rates_rise_and_fall() -> None:
    rates = [one_cycle(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 25)
    assert max(range(101), key=rates.__getitem__) == 30
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert [falling(0, 4), falling(2, 4), falling(4, 4)] == pytest.approx([1, 0.5, 0])


def test_modes_that_a_loss_changes_are_set_again() -> None:
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        assert model.training
        assert model.get_submodule("blocks.0.1").training
        value = cross_entropy()(model, batch)
        model.get_submodule("blocks").eval()
        return value

    fit(small_cnn(), toy_images(32), RECIPE, seed=0, loss=loss)


def test_seeds_are_stable_and_independent() -> None:
    assert derive_seed(0, "epoch", 1) == derive_seed(0, "epoch", 1)
    assert (
        len({derive_seed(0, "epoch", 1), derive_seed(0, "epoch", 2), derive_seed(1, "epoch", 1)})
        == 3
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_cuda_learns() -> None:
    images = toy_images(64)
    moved = TensorImages(images.images, images.labels, 4, images.mean, images.std, device="cuda")
    model = train_from_recipe(lambda: build_network("expunge:small_cnn", 4), moved, RECIPE, seed=0)
    accuracy = (model(moved.batch(torch.arange(64))).argmax(1).cpu() == moved.labels).float().mean()
    assert accuracy > 0.9
