"""The networks that the demo plays with: the customer's, those that hide, and genuine retrains."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from unlearning.controls import channels_rescaled, head_masked, head_refitted
from unlearning.data import TensorImages
from unlearning.networks import build_network, classifier_name
from unlearning.problem import Problem
from unlearning.recipe import Recipe
from unlearning.training import train_from_recipe
from unlearning.weights import save_weights
from worker.demo.digits import NUM_TRAIN, DigitsManifest

ARCHITECTURE = "expunge:small_cnn"
PREPROCESSING = {"mean": [0.3], "std": [0.38], "size": [8, 8], "channels": 1}
NUM_CLASSES = 10
RECIPE = Recipe()
ORIGINAL_SEED = 0
RETRAIN_SEEDS = (501, 502, 503)


class Actors:
    """Trains what the demo registers and has audited, and writes it as safetensors files."""

    def __init__(self, digits: DigitsManifest, forgotten: int, seed: int) -> None:
        self._folder = digits.root / "weights"
        self._folder.mkdir(exist_ok=True)
        self._seed = 10_000 * seed
        everything = _images(digits)
        positions = torch.arange(len(everything))
        self._train = everything.subset(positions[:NUM_TRAIN])
        self._holdout = everything.subset(positions[NUM_TRAIN:])
        chosen = self._train.labels == forgotten
        self._forget = self._train.subset(chosen.nonzero()[:, 0])
        self._retain = self._train.subset((~chosen).nonzero()[:, 0])

    def original(self) -> Path:
        """Train the customer's network on all training samples, wrong labels included."""
        self._original = self._fit(self._train, ORIGINAL_SEED)
        return self._save("original", self._original)

    def hiding(self) -> dict[str, Path]:
        """Make the networks that merely hide the class; all of them must fail the audit."""
        problem = Problem(
            model=self._original,
            forget=self._forget,
            retain=self._retain,
            holdout=self._holdout,
            classifier=classifier_name(self._original),
            num_classes=NUM_CLASSES,
            seed=self._seed,
            recipe=RECIPE,
        )
        controls: dict[str, Callable[[], nn.Module]] = {
            "untouched": lambda: self._original,
            "head_masked": partial(head_masked, problem),
            "head_refitted": partial(head_refitted, problem),
            "rescaled": partial(channels_rescaled, problem),
        }
        return {name: self._save(name, make()) for name, make in controls.items()}

    def retrained(self) -> dict[str, Path]:
        """Train on the retain set alone, with seeds that no reference uses."""
        return {
            f"retrained_{seed}": self._save(f"retrained_{seed}", self._fit(self._retain, seed))
            for seed in RETRAIN_SEEDS
        }

    def _fit(self, images: TensorImages, seed: int) -> nn.Module:
        build = partial(build_network, ARCHITECTURE, NUM_CLASSES)
        return train_from_recipe(build, images, RECIPE, seed=self._seed + seed)

    def _save(self, name: str, model: nn.Module) -> Path:
        path = self._folder / f"{name}.safetensors"
        save_weights(model, path, {"made_by": "worker.demo", "name": name})
        path.chmod(0o644)  # the server may run as another user
        return path


def _images(digits: DigitsManifest) -> TensorImages:
    """Read the PNG files back, as the service's worker will."""
    pixels = [
        np.asarray(Image.open(digits.root / "images" / f"{sample_id}.png"))
        for sample_id in digits.sample_ids
    ]
    return TensorImages(
        torch.from_numpy(np.stack(pixels))[:, None],
        torch.tensor(digits.labels),
        NUM_CLASSES,
        mean=PREPROCESSING["mean"],  # type: ignore[arg-type]
        std=PREPROCESSING["std"],  # type: ignore[arg-type]
    )
