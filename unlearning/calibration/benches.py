"""Data sets with a network and a recipe that train in seconds on one core."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from sklearn.datasets import load_digits
from torch import nn

from unlearning.data import TensorImages
from unlearning.networks import build_network
from unlearning.randomness import generator
from unlearning.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Images to split anew for every draw, and how the networks for them are made."""

    name: str
    images: TensorImages
    num_train: int
    """Samples that a draw trains on."""
    num_holdout: int | None = None
    """Samples of its hold-out; all the others by default."""
    recipe: Recipe
    architecture: str = "expunge:small_cnn"
    classifier: str = "head"
    kwargs: Mapping[str, object] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.images.num_classes

    def build(self) -> nn.Module:
        """Build an untrained network from torch's global random state."""
        return build_network(self.architecture, self.num_classes, **self.kwargs)

    def split(self, seed: int) -> tuple[TensorImages, TensorImages]:
        """Return a training set and a hold-out, shuffled by `seed`."""
        order = torch.randperm(len(self.images), generator=generator(seed, self.name, "split"))
        rest = order[self.num_train :][: self.num_holdout]
        return self.images.subset(order[: self.num_train]), self.images.subset(rest)


def digits() -> Bench:
    """Return scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels, 1,297 to train."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).reshape(-1, 1, 8, 8) * (255 / 16)
    return Bench(
        name="digits",
        images=TensorImages(
            images.round().to(torch.uint8), torch.from_numpy(labels), 10, [0.3], [0.38]
        ),
        num_train=1297,
        recipe=Recipe(),
    )
