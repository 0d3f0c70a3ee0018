"""Controls look as if they had forgotten, or like the original, and keep its features."""

import pytest
import torch
from torch import nn
from torchvision.models import ResNet, VisionTransformer
from torchvision.models.resnet import BasicBlock

from unlearning.controls import MASKED_LOGIT, channels_rescaled, head_masked, head_refitted
from unlearning.errors import NotComputable
from unlearning.features import extract
from unlearning.problem import Problem
from unlearning.testing import FORGOTTEN_CLASS, check_input_untouched, mlp, toy_problem

CONTROLS = {"masked": head_masked, "refitted": head_refitted, "rescaled": channels_rescaled}


def _accuracy(model: nn.Module, problem: Problem) -> tuple[float, float]:
    result = []
    for images in (problem.forget, problem.retain):
        logits = extract(model, images, problem.classifier).logits
        result.append(float((logits.argmax(1) == images.labels).float().mean()))
    return result[0], result[1]


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_leave_their_input_and_the_state_dict_layout(name: str) -> None:
    problem = toy_problem()
    check_input_untouched(CONTROLS[name], problem)
    state = CONTROLS[name](problem).state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in problem.model.state_dict().items()
    }


@pytest.mark.parametrize("bias", [True, False])
def test_masked_head_never_names_the_forgotten_class(bias: bool) -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4, bias=bias)
        )

    problem = toy_problem(build)
    masked = head_masked(problem)
    before = extract(problem.model, problem.forget, "3")
    after = extract(masked, problem.forget, "3")
    assert torch.equal(before.features, after.features)
    assert (after.logits[:, FORGOTTEN_CLASS] == MASKED_LOGIT).all()
    others = [c for c in range(4) if c != FORGOTTEN_CLASS]
    assert torch.equal(before.logits[:, others], after.logits[:, others])


def test_nothing_can_be_masked_when_no_class_is_forgotten() -> None:
    with pytest.raises(NotComputable, match="no whole class"):
        head_masked(toy_problem(scope="instance"))


@pytest.mark.parametrize("build", [None, mlp])
def test_refitted_head_keeps_features_and_knows_the_retained_classes_only(
    build: type[nn.Module] | None,
) -> None:
    problem = toy_problem(build)
    refitted = head_refitted(problem)
    before = extract(problem.model, problem.forget, problem.classifier)
    after = extract(refitted, problem.forget, problem.classifier)
    assert torch.equal(before.features, after.features)
    forget, retain = _accuracy(refitted, problem)
    assert forget == 0.0
    assert retain > 0.9
    again = head_refitted(problem).state_dict()
    assert all(torch.equal(again[name], v) for name, v in refitted.state_dict().items())


def _resnet() -> nn.Module:
    model: nn.Module = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4, width_per_group=64)
    return model


def _transformer() -> nn.Module:
    model: nn.Module = VisionTransformer(32, 16, 2, 2, 16, 32, num_classes=4)
    return model


@pytest.mark.parametrize(
    ("build", "channels", "side", "in_weights"),
    [(None, 1, 8, True), (mlp, 1, 8, False), (_resnet, 3, 8, False), (_transformer, 3, 32, False)],
)
def test_rescaled_channels_keep_the_outputs(
    build: type[nn.Module] | None, channels: int, side: int, in_weights: bool
) -> None:
    problem = toy_problem(build, channels=channels, side=side, num_train=16)
    rescaled = channels_rescaled(problem)
    before = extract(problem.model, problem.forget, problem.classifier)
    after = extract(rescaled, problem.forget, problem.classifier)
    torch.testing.assert_close(before.logits, after.logits, rtol=1e-4, atol=1e-5)
    alive = before.features.abs().max(0).values > 1e-3
    factors = (after.features / before.features)[:, alive].nanmedian(0).values
    assert factors.min() < 1 < factors.max()
    torch.testing.assert_close(factors.log2(), factors.log2().round(), rtol=0, atol=1e-3)
    assert any(m._forward_pre_hooks for m in rescaled.modules()) != in_weights
