"""Penultimate and stage features are found in any network, without touching it."""

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from unlearning.errors import InvalidProblem
from unlearning.features import Outputs, Tap, extract, find_last_stage, find_module, pool
from unlearning.networks import build_network, classifier_name
from unlearning.testing import mlp, small_cnn, toy_images

TORCHVISION = [
    # name, classifier, penultimate width, last stage, stage width
    ("resnet18", "fc", 512, "layer4", 256),
    ("mobilenet_v3_small", "classifier.3", 1024, "features.12", 96),
    ("convnext_tiny", "classifier.2", 768, "features.7", 768),
    ("vit_b_16", "heads.head", 768, "encoder.layers.encoder_layer_11", 768),
    ("squeezenet1_1", "classifier.1", 512, "features.12", 512),
]


@pytest.mark.parametrize(("name", "classifier", "width", "stage", "stage_width"), TORCHVISION)
def test_torchvision_networks_show_their_features(
    name: str, classifier: str, width: int, stage: str, stage_width: int
) -> None:
    kwargs = {"image_size": 32} if name == "vit_b_16" else {}
    model = build_network(f"torchvision:{name}", 4, **kwargs)
    images = toy_images(3, channels=3, side=32)
    assert classifier_name(model) == classifier
    assert find_last_stage(model, classifier) is find_module(model, stage)
    seen = extract(model, images, classifier, batch_size=2)
    assert seen.features.shape == (3, width)
    assert seen.logits.shape == (3, 4)
    assert seen.stage_features is not None
    assert seen.stage_features.shape == (3, stage_width)


def test_small_cnn_shows_the_input_of_its_last_block() -> None:
    model, images = small_cnn(), toy_images(5)
    assert find_last_stage(model, "head") is model.get_submodule("blocks.2")
    seen = extract(model, images, "head")
    model.eval()
    with torch.no_grad():
        x = images.batch(torch.arange(5))
        early = model.get_submodule("blocks.1")(model.get_submodule("blocks.0")(x))
        last = model.get_submodule("blocks.2")(early).mean((2, 3))
    assert seen.stage_features is not None
    torch.testing.assert_close(seen.stage_features, early.mean((2, 3)))
    torch.testing.assert_close(seen.features, last)
    torch.testing.assert_close(seen.logits, model.get_submodule("head")(last).detach())


def test_a_network_of_one_layer_has_no_stage() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 4))
    assert find_last_stage(model, "3") is None
    assert extract(model, toy_images(4), "3").stage_features is None


def test_stage_is_found_below_a_wrapper() -> None:
    backbone = build_network("torchvision:resnet18", 4)
    wrapped = nn.ModuleDict({"net": backbone})
    assert find_last_stage(wrapped, "net.fc") is backbone.get_submodule("layer4")


def test_features_do_not_depend_on_the_batch_size() -> None:
    model, images = small_cnn(), toy_images(7)
    whole, parts = extract(model, images, "head"), extract(model, images, "head", batch_size=2)
    torch.testing.assert_close(whole.features, parts.features)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_another_float_type_are_read_as_well(dtype: torch.dtype) -> None:
    model, images = small_cnn(), toy_images(6)
    plain = extract(model, images, "head")
    other = extract(model.to(dtype), images, "head")
    assert other.features.dtype == other.logits.dtype == torch.float32
    torch.testing.assert_close(other.logits, plain.logits, rtol=0.05, atol=0.05)


def test_extraction_restores_every_mode_and_removes_its_hooks() -> None:
    model = small_cnn().train()
    model.get_submodule("blocks.0").eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    extract(model, toy_images(4), "head")
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_modes_are_restored_after_an_error_too() -> None:
    model = small_cnn().train()
    with pytest.raises(RuntimeError):
        extract(model, toy_images(4, channels=3), "head")
    assert all(module.training for module in model.modules())


def test_stages_can_be_left_out() -> None:
    assert extract(mlp(), toy_images(4), "head", stages=False).stage_features is None


def test_gradients_flow_through_a_tap() -> None:
    model = mlp()
    with Tap(model.get_submodule("head")) as tap:
        model(toy_images(4).batch(torch.arange(4)))
    tap.value.sum().backward()  # type: ignore[no-untyped-call]
    assert next(model.parameters()).grad is not None


def test_unknown_and_unused_classifiers_are_refused() -> None:
    model = small_cnn()
    with pytest.raises(InvalidProblem, match="no module called 'tail'"):
        extract(model, toy_images(4), "tail")
    model.add_module("spare", nn.Linear(3, 4))
    with pytest.raises(InvalidProblem, match="takes no part"):
        extract(model, toy_images(4), "spare")


def test_an_empty_set_has_no_features() -> None:
    with pytest.raises(InvalidProblem, match="empty"):
        extract(mlp(), toy_images(4).subset(torch.arange(0)), "head")


@pytest.mark.parametrize(
    ("shape", "width"),
    [((2, 5, 3, 3), 5), ((2, 3, 3, 5), 5), ((2, 5, 1, 1), 5), ((2, 7, 5), 5), ((2, 5), 5)],
)
def test_maps_and_tokens_are_averaged(shape: tuple[int, ...], width: int) -> None:
    assert pool(torch.ones(shape)).shape == (2, width)


def test_transformer_tokens_are_averaged() -> None:
    model = VisionTransformer(32, 16, 2, 2, 16, 32, num_classes=4)
    seen: Outputs = extract(model, toy_images(2, channels=3, side=32), "heads.head")
    assert seen.stage_features is not None
    assert seen.stage_features.shape == (2, 16)
