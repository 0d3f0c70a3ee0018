"""A bench of blobs whose draws take seconds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unlearning.audit import Policy
from unlearning.audit.policy import STANDARD
from unlearning.calibration import Bench, Draw, DrawPlan
from unlearning.data import TensorImages
from unlearning.recipe import Recipe


@pytest.fixture(scope="session")
def blobs() -> Bench:
    """Return four classes of noisy 8x8 images and a small convolutional network."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(60, 195, size=(4, 1, 8, 8))
    labels = np.arange(480) % 4
    pixels = (centres[labels] + 45 * rng.normal(size=(480, 1, 8, 8))).clip(0, 255)
    images = torch.from_numpy(pixels.astype(np.uint8))
    return Bench(
        name="blobs",
        images=TensorImages(images, torch.from_numpy(labels), 4, [0.5], [0.25]),
        num_train=320,
        recipe=Recipe(epochs=6, batch_size=32, shift=0),
        kwargs={"channels": (8, 16, 16)},
    )


@pytest.fixture(scope="session")
def policy() -> Policy:
    """Return the standard policy with a first look at seven references."""
    relearning = {**STANDARD["relearning"], "cap": 10, "references": 2}
    small = {**STANDARD, "looks": [7, 9], "relearning": relearning}
    return Policy.from_dict(small)


@pytest.fixture(scope="session")
def class_draw(blobs: Bench, policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Draw:
    plan = DrawPlan(bench="blobs", scope="class", seed=3, originals=1, retrained=1)
    return Draw(plan, blobs, policy, tmp_path_factory.mktemp("draw"))


@pytest.fixture(scope="session")
def instance_draw(
    class_draw: Draw, blobs: Bench, policy: Policy, tmp_path_factory: pytest.TempPathFactory
) -> Draw:
    plan = replace(class_draw.plan, scope="instance")
    return Draw(plan, blobs, policy, tmp_path_factory.mktemp("draw"))
