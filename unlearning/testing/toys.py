"""Small problems on which a method shows in milliseconds whether it keeps the contract."""

from collections.abc import Callable

import torch
from torch import nn

from unlearning.data import TensorImages
from unlearning.networks import MLP, SmallCNN, classifier_name
from unlearning.problem import Problem
from unlearning.randomness import generator
from unlearning.recipe import Recipe
from unlearning.training import train_from_recipe

NetworkBuilder = Callable[[], nn.Module]

NUM_CLASSES = 4
SIDE = 8
FORGOTTEN_CLASS = 2


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


def transformer() -> nn.Module:
    """Build a vision transformer, for toy images of three channels and 32 pixels a side."""
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 16, 2, 2, 16, 32, num_classes=NUM_CLASSES)  # type: ignore[no-any-return]
