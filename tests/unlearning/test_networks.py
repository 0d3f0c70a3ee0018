"""Networks are built by name, without weights and without surprises."""

import pytest
import torch
from torch import nn

from unlearning.errors import InvalidProblem
from unlearning.networks import build_network, classifier_name, count_outputs
from unlearning.randomness import seeded


@pytest.mark.parametrize(
    ("architecture", "kwargs", "shape", "classifier"),
    [
        ("expunge:small_cnn", {}, (2, 1, 8, 8), "head"),
        ("expunge:small_cnn", {"in_channels": 3, "channels": [4]}, (2, 3, 9, 7), "head"),
        ("expunge:mlp", {"in_features": 12, "hidden": [5]}, (2, 3, 2, 2), "head"),
        ("torchvision:resnet18", {"small_images": True}, (2, 3, 8, 8), "fc"),
    ],
)
def test_networks_give_logits(
    architecture: str, kwargs: dict[str, object], shape: tuple[int, ...], classifier: str
) -> None:
    model = build_network(architecture, 5, **kwargs)
    assert model(torch.zeros(shape)).shape == (2, 5)
    assert classifier_name(model) == classifier
    assert count_outputs(model.get_submodule(classifier)) == 5


@pytest.mark.parametrize(
    ("architecture", "kwargs", "message"),
    [
        ("expunge:huge", {}, "unknown architecture"),
        ("torchvision:fcn_resnet50", {}, "unknown architecture"),
        ("torchvision:nothing", {}, "unknown architecture"),
        ("os:system", {}, "unknown architecture"),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, "weights cannot be set"),
        ("torchvision:resnet18", {"colour": 3}, "cannot be built"),
        ("torchvision:squeezenet1_1", {"small_images": True}, "only known for ResNets"),
        ("expunge:small_cnn", {"colour": 3}, "cannot be built"),
    ],
)
def test_unknown_names_and_arguments_are_refused(
    architecture: str, kwargs: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidProblem, match=message):
        build_network(architecture, 5, **kwargs)


def test_equal_seeds_give_equal_networks() -> None:
    with seeded(4):
        first = build_network("expunge:small_cnn", 5)
    with seeded(4):
        second = build_network("expunge:small_cnn", 5)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_model_without_linear_layers_has_no_classifier() -> None:
    with pytest.raises(InvalidProblem, match="no linear layer"):
        classifier_name(nn.Sequential(nn.ReLU()))
