"""Requests in a row for one model on digits: what each forgets, and what may be trained on then."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from unlearning.calibration import Bench, digits
from unlearning.data import TensorImages
from unlearning.randomness import derive_seed, generator
from unlearning.training import train_from_recipe

SEED = 90_000
"""Of data, networks and requests; defaults are chosen on smaller seeds."""
SMALL = 20  # single samples of a small request
EVERY = 3  # the distance between requests for whole classes


@dataclass(frozen=True, kw_only=True)
class Succession:
    """One model's requests in a row; `references` are trained for each step."""

    steps: int
    references: int
    seed: int = SEED

    @cached_property
    def bench(self) -> Bench:
        """The data set, its network and its recipe."""
        return digits()

    @cached_property
    def split(self) -> tuple[TensorImages, TensorImages]:
        """The training set and the hold-out."""
        return self.bench.split(self.seed)

    @cached_property
    def requests(self) -> list[Tensor]:
        """Positions in the training set that each step forgets; no sample is asked for twice."""
        train, draws = self.split[0], generator(self.seed, "requests")
        classes = torch.randperm(self.bench.num_classes, generator=draws).tolist()
        free, asked = torch.ones(len(train), dtype=torch.bool), []
        for step in range(1, self.steps + 1):
            if step % EVERY == 0:
                chosen = (free & (train.labels == classes.pop())).nonzero()[:, 0]
            else:
                left = free.nonzero()[:, 0]
                chosen = left[torch.randperm(len(left), generator=draws)[:SMALL]]
            free[chosen] = False
            asked.append(chosen.sort().values)
        return asked

    def erased(self, step: int) -> Tensor:
        """Return E after a step (from 1): all positions asked for so far, sorted."""
        return torch.cat(self.requests[:step]).sort().values

    def retain(self, step: int) -> TensorImages:
        """Return R of a step: all training samples but E."""
        kept = torch.ones(len(self.split[0]), dtype=torch.bool)
        kept[self.erased(step)] = False
        return self.split[0].subset(kept.nonzero()[:, 0])

    def train(self, step: int, role: str, number: int) -> nn.Module:
        """Train a network on the R of a step; step 0 is the whole training set."""
        torch.set_num_threads(1)
        images = self.retain(step) if step else self.split[0]
        seed = derive_seed(self.seed, role, step, number)
        return train_from_recipe(self.bench.build, images, self.bench.recipe, seed=seed)
