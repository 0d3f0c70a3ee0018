"""What the peers share: one call of the training loop, and batches beside those of a walk."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from unlearning.data import Images
from unlearning.problem import Problem
from unlearning.randomness import generator
from unlearning.recipe import Recipe
from unlearning.training import Batch, Epoch, Schedule, train, walk_batches


def descend(
    model: nn.Module,
    plan: Sequence[Epoch],
    problem: Problem,
    *,
    phase: str,
    relative_lr: float,
    recipe: Recipe | None = None,
    schedule: Schedule = "falling",
) -> nn.Module:
    """Train a model in place by a plan of epochs, with the problem's seed, progress and token.

    The learning rate is `relative_lr` times the peak of `recipe`, the problem's own by default.
    """
    settings = recipe or problem.settings
    return train(
        model,
        plan,
        replace(settings, peak_lr=settings.peak_lr * relative_lr),
        seed=problem.seed,
        schedule=schedule,
        phase=phase,
        progress=problem.progress,
        cancel=problem.cancel,
    )


def endless_batches(images: Images, problem: Problem) -> Iterator[Batch]:
    """Yield batches of a set for ever, in another random order each time it is through.

    Sizes and augmentation are those of the problem's recipe.
    """
    recipe, draws = problem.settings, generator(problem.seed, "endless batches")
    while True:
        yield from walk_batches(images, recipe, draws)


def share_of(images: Images, fraction: float, seed: int) -> Images:
    """Draw a part of a set by a seed, one sample at least; the set itself for a fraction of 1."""
    if fraction == 1:
        return images
    order = torch.randperm(len(images), generator=generator(seed, "share"))
    return images.subset(order[: max(1, round(fraction * len(images)))])


@contextmanager
def without_statistics(model: nn.Module) -> Iterator[None]:
    """Keep batch norms in eval mode for a while, so that what passes leaves no trace in them."""
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training  # noqa: SLF001 - all three kinds
    ]
    try:
        for norm in norms:
            norm.eval()
        yield
    finally:
        for norm in norms:
            norm.train()
