"""Relearning: more steps mean more was removed; far fewer than the references means hidden."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.data import Images
from unlearning.errors import NonFiniteLoss, NotComputable
from unlearning.features import find_module, split_evenly
from unlearning.progress import CancelToken
from unlearning.randomness import derive_seed, generator, seeded

_HEAD_DRAWS = 32


@dataclass(frozen=True, kw_only=True)
class RelearningRecipe:
    """Settings of the experiment; models compared with each other share them and the seed."""

    lr: float = 0.002
    momentum: float = 0.9
    forget_batch: int = 32
    retain_batch: int = 96
    target: float = 0.5
    """Share of the forgotten classes' hold-out to be recognised."""
    cap: int = 200
    """Steps after which the experiment gives up."""
    every: int = 5
    """Steps between two evaluations, which is the resolution of the result."""


@dataclass(frozen=True)
class Relearning:
    """Result: `steps` until the target, the cap when `censored`, and the curve up to there."""

    steps: int
    censored: bool
    curve: tuple[tuple[int, float], ...]
    """(step, share of H_F recognised), from step 0 on."""


def relearn(
    model: nn.Module,
    classifier: str,
    forget: Images,
    retain: Images,
    holdout_forgotten: Images,
    *,
    recipe: RelearningRecipe | None = None,
    seed: int = 0,
    cancel: CancelToken | None = None,
) -> Relearning:
    """Count the optimiser steps until a copy recognises half of the forgotten classes' hold-out.

    The copy's head is drawn anew first: a mask's bias would decide otherwise. A head that by luck
    recognises the target share at once is drawn again. Batches of F and R with true labels, the
    same for every model of a seed; BatchNorm and dropout stay in eval mode. The model given is
    never changed.

    Raises:
        NotComputable: no forget, retain or hold-out sample.
        NonFiniteLoss: the copy diverged.
    """
    recipe = recipe or RelearningRecipe()
    for name, images in (
        ("forget set", forget),
        ("retain set", retain),
        ("H_F", holdout_forgotten),
    ):
        if not len(images):
            raise NotComputable(f"relearning needs samples in all sets; none in the {name}")
    pupil = _with_fresh_head(model, classifier, holdout_forgotten, recipe.target, seed)
    parameters = [p.requires_grad_() for p in pupil.parameters()]
    optimiser = torch.optim.SGD(parameters, lr=recipe.lr, momentum=recipe.momentum)
    draws = generator(seed, "relearning batches")
    curve = [(0, recall(pupil, holdout_forgotten))]
    for step in range(1, recipe.cap + 1):
        if cancel is not None:
            cancel.raise_if_cancelled()
        _take_step(pupil, optimiser, *_draw(forget, retain, recipe, draws))
        if step % recipe.every == 0 or step == recipe.cap:
            curve.append((step, recall(pupil, holdout_forgotten)))
            if curve[-1][1] >= recipe.target:
                return Relearning(step, censored=False, curve=tuple(curve))
    return Relearning(recipe.cap, censored=True, curve=tuple(curve))


@torch.no_grad()
def recall(model: nn.Module, images: Images) -> float:
    """Return the share of images that a model in eval mode recognises."""
    hits = 0
    indices = split_evenly(len(images), 512)
    for index, x in zip(indices, images.batches(indices), strict=True):
        hits += int((model(x).argmax(dim=1).cpu() == images.labels[index]).sum())
    return hits / len(images)


def _with_fresh_head(
    model: nn.Module, classifier: str, holdout: Images, target: float, seed: int
) -> nn.Module:
    """Copy the model to the images' device, in eval mode, with a newly drawn classifier."""
    pupil = copy.deepcopy(model).to(holdout.device).eval()
    head = find_module(pupil, classifier)
    if not isinstance(head, nn.Linear | nn.Conv2d):
        raise TypeError(f"{classifier!r} is no linear layer or convolution that can be drawn anew")
    for draw in range(_HEAD_DRAWS):
        with seeded(derive_seed(seed, "relearning head", draw), holdout.device):
            head.reset_parameters()
        if recall(pupil, holdout) < target:
            break
    return pupil


def _draw(
    forget: Images, retain: Images, recipe: RelearningRecipe, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one batch with replacement; the generator decides, not the model."""
    parts = [(forget, recipe.forget_batch), (retain, recipe.retain_batch)]
    indices = [torch.randint(len(images), (size,), generator=draws) for images, size in parts]
    x = [images.batch(index) for (images, _), index in zip(parts, indices, strict=True)]
    y = [images.labels[index] for (images, _), index in zip(parts, indices, strict=True)]
    return torch.cat(x), torch.cat(y).to(x[0].device)


def _take_step(model: nn.Module, optimiser: torch.optim.SGD, x: Tensor, y: Tensor) -> None:
    with torch.enable_grad():
        loss = functional.cross_entropy(model(x), y)
        if not torch.isfinite(loss):
            raise NonFiniteLoss("relearning diverged: the loss is not finite")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
    optimiser.step()
