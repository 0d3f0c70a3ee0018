"""Relearning on a toy problem, and the weight change of a mask."""

import copy
import math

import pytest
import torch
from torch import nn

from unlearning.data import TensorImages
from unlearning.errors import Cancelled, NonFiniteLoss, NotComputable
from unlearning.metrics.relearning import Relearning, RelearningRecipe, relearn
from unlearning.metrics.weight_change import head_fraction
from unlearning.progress import CancelToken

FAST = RelearningRecipe(lr=0.05, forget_batch=8, retain_batch=24, cap=60)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.drop(self.pool(self.norm(self.convolution(x)))))
        return logits


def images(label: int | None, n: int = 30, seed: int = 0) -> TensorImages:
    """Make images whose bright quarter tells the label; None mixes labels 1 and 2."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2 + 1 if label is None else torch.full((n,), label)
    pixels = torch.randint(0, 60, (n, 1, 8, 8), generator=generator)
    for pixel, own in zip(pixels, labels.tolist(), strict=True):
        row, column = divmod(own, 2)
        pixel[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 180
    return TensorImages(pixels.to(torch.uint8), labels, 3, [0.4], [0.3])


def model(seed: int = 0) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net()


def run(net: nn.Module, recipe: RelearningRecipe = FAST, seed: int = 0) -> Relearning:
    sets = images(0), images(None, 60), images(0, seed=9)
    return relearn(net, "head", *sets, recipe=recipe, seed=seed)


def test_the_class_is_relearnt_and_the_curve_tells_when() -> None:
    result = run(model())
    assert not result.censored
    assert result.curve[0][0] == 0
    assert result.curve[0][1] < FAST.target
    assert result.curve[-1][0] == result.steps <= FAST.cap
    assert result.curve[-1][1] >= FAST.target
    assert all(share < FAST.target for _, share in result.curve[:-1])
    assert [step for step, _ in result.curve] == list(range(0, result.steps + 1, FAST.every))


def test_the_audited_model_its_mode_and_the_global_random_state_stay_as_they_were() -> None:
    net = model().train()
    net.head.weight.requires_grad = False
    before = copy.deepcopy(net.state_dict())
    state = torch.get_rng_state()
    run(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training
    assert not net.head.weight.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_a_masks_bias_decides_nothing() -> None:
    net = model()
    masked = copy.deepcopy(net)
    with torch.no_grad():
        masked.head.bias[0] = -1e4
    assert run(masked) == run(net)


def test_the_fresh_head_knows_the_retain_set_before_relearning_starts() -> None:
    untaught = RelearningRecipe(lr=0.002, head_steps=0, cap=1)
    taught = RelearningRecipe(lr=0.002, head_steps=100, cap=1)
    starts = [run(model(), taught, seed).curve[0][1] for seed in range(4)]
    assert starts == [0] * 4
    assert any(run(model(), untaught, seed).curve[0][1] > 0 for seed in range(12))


def test_a_class_recognised_from_the_start_needs_no_step() -> None:
    net = model()
    sets = images(1), images(None, 60), images(1, seed=9)
    result = relearn(net, "head", *sets, recipe=FAST)
    assert (result.steps, result.censored) == (0, False)


def test_equal_seeds_agree_and_others_draw_other_batches() -> None:
    assert run(model()) == run(model())
    fine = RelearningRecipe(lr=0.02, forget_batch=8, retain_batch=24, every=1)
    assert len({run(model(), fine, seed).curve for seed in range(4)}) > 1


def test_reaching_the_cap_is_marked_as_censored() -> None:
    slow = RelearningRecipe(lr=1e-9, cap=7)
    result = run(model(), slow)
    assert (result.steps, result.censored) == (7, True)
    assert [step for step, _ in result.curve] == [0, 5, 7]


def test_empty_sets_are_not_computable() -> None:
    some, none = images(0), images(0, 0)
    for sets in ((none, some, some), (some, none, some), (some, some, none)):
        with pytest.raises(NotComputable, match="samples in all sets"):
            relearn(model(), "head", *sets)


def test_a_model_with_nan_weights_is_stopped() -> None:
    net = model()
    with torch.no_grad():
        net.convolution.weight.fill_(math.nan)
    with pytest.raises(NonFiniteLoss):
        run(net)


def test_it_can_be_cancelled_and_needs_a_classifier_that_can_be_drawn_anew() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        relearn(model(), "head", images(0), images(None), images(0), cancel=token)
    with pytest.raises(TypeError, match="drawn anew"):
        relearn(model(), "drop", images(0), images(None), images(0))


def test_head_fraction_is_one_for_a_mask_and_the_ratio_of_squares_otherwise() -> None:
    net = model()
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.head.bias[0] -= 3
    assert head_fraction(net, other, "head") == 1
    with torch.no_grad():
        bias = other.convolution.bias
        assert bias is not None
        bias[0] += 4
    assert head_fraction(net, other, "head") == pytest.approx(9 / 25)
    assert isinstance(other.norm.running_mean, torch.Tensor)
    other.norm.running_mean += 1
    assert head_fraction(net, other, "head") == pytest.approx(9 / 33)


def test_head_fraction_refuses_what_it_cannot_compare() -> None:
    net = model()
    with pytest.raises(NotComputable, match="no weight changed"):
        head_fraction(net, copy.deepcopy(net), "head")
    with pytest.raises(ValueError, match="classifier name"):
        head_fraction(net, model(1), "fc")
    with pytest.raises(ValueError, match="same weights"):
        head_fraction(net, nn.Linear(2, 2), "head")
    broken = copy.deepcopy(net)
    with torch.no_grad():
        broken.head.bias[0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        head_fraction(net, broken, "head")
