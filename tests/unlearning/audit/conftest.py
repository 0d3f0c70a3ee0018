"""Small worlds to audit: blobs that train in a blink, and scikit-learn's digits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from unlearning.audit import AuditedModel, AuditTask, Policy
from unlearning.audit.policy import STANDARD
from unlearning.data import TensorImages
from unlearning.networks import build_network
from unlearning.recipe import Recipe
from unlearning.training import train_from_recipe

RELEARNING = STANDARD["relearning"]
Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class World:
    """A data set D, a hold-out, and models trained on D or without some of it, each once."""

    train: TensorImages
    holdout: TensorImages
    build: Build
    recipe: Recipe
    policy: Policy
    cache_dir: Path
    trained: dict[tuple[tuple[int, ...], int], nn.Module] = field(default_factory=dict)

    def model(self, without: Sequence[int], seed: int) -> nn.Module:
        """Return the model of a seed that never saw the positions ``without``."""
        key = (tuple(sorted(without)), seed)
        if key not in self.trained:
            rest = np.setdiff1d(np.arange(len(self.train)), without)
            images = self.train.subset(torch.from_numpy(rest))
            self.trained[key] = train_from_recipe(self.build, images, self.recipe, seed=seed)
        return self.trained[key]

    def of_class(self, label: int) -> list[int]:
        """Return the positions in D of a class."""
        positions: list[int] = (self.train.labels == label).nonzero().squeeze(1).tolist()
        return positions

    def task(self, erased: Sequence[int], candidate: nn.Module | None = None) -> AuditTask:
        """Return the audit of a candidate (the original by default) with all of E as forget set."""
        erased = sorted(erased)
        rest = np.setdiff1d(np.arange(len(self.train)), erased)
        original = self.model((), 0)
        return AuditTask(
            original=AuditedModel(load=lambda: original, digest="original"),
            candidate=AuditedModel(load=lambda: candidate or original),
            references=[
                AuditedModel(load=partial(self.model, erased, 1000 + seed), digest=str(seed))
                for seed in range(self.policy.looks[0])
            ],
            retain=self.train.subset(torch.from_numpy(rest)),
            holdout=self.holdout,
            erased=self.train.subset(torch.tensor(erased)),
            forget_sets={"request": range(len(erased))},
            classifier="head",
            num_classes=self.train.num_classes,
            policy=self.policy,
            cache_dir=self.cache_dir,
            data_digest=f"{len(self.holdout)} {erased}",
        )

    def without_holdout_class(self, label: int) -> "World":
        """Return the same world with a hold-out that lacks a class."""
        kept = (self.holdout.labels != label).nonzero().squeeze(1)
        return replace(self, holdout=self.holdout.subset(kept))


def _blobs(number: int, rng: np.random.Generator, centres: np.ndarray) -> TensorImages:
    labels = np.arange(number) % len(centres)
    pixels = centres[labels] + 40 * rng.normal(size=(number, 1, 6, 6))
    images = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    return TensorImages(images, torch.from_numpy(labels), len(centres), (0.5,), (0.25,))


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Four classes of noisy 6x6 images, a small MLP, and a policy that looks at 7 references."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(60, 195, size=(4, 1, 6, 6))
    policy = {**STANDARD, "looks": [7, 9], "relearning": {**RELEARNING, "cap": 10, "references": 2}}
    return World(
        train=_blobs(240, rng, centres),
        holdout=_blobs(120, rng, centres),
        build=lambda: build_network("expunge:mlp", 4, in_features=36, hidden=(32, 16)),
        recipe=Recipe(epochs=6, batch_size=32, shift=0),
        policy=Policy.from_dict(policy),
        cache_dir=tmp_path_factory.mktemp("measured"),
    )


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> World:
    """scikit-learn's digits, 1,297 to train on and 500 held out; a small convolutional network."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy((pixels.reshape(-1, 1, 8, 8) * 255 / 16).round().astype(np.uint8))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    everything = TensorImages(images, torch.from_numpy(labels), 10, (0.3,), (0.3,))
    relearning = {**RELEARNING, "cap": 20, "references": 1}
    return World(
        train=everything.subset(order[:1297]),
        holdout=everything.subset(order[1297:]),
        build=lambda: build_network("expunge:small_cnn", 10, channels=(16, 32, 32)),
        recipe=Recipe(epochs=8),
        policy=Policy.from_dict({**STANDARD, "relearning": relearning}),
        cache_dir=tmp_path_factory.mktemp("measured"),
    )
