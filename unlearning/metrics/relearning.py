"""Relearning: more steps mean more was removed; far fewer than the references means hidden.

The steps vary several-fold with the seed of head and batches, so models are compared under one
seed, and on small data the count may not tell an untouched model from a retrained one.
"""

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


@dataclass(frozen=True, kw_only=True)
class RelearningRecipe:
    """Settings of the experiment; models compared with each other share them and the seed."""

    lr: float = 0.002
    momentum: float = 0.9
    forget_batch: int = 32
    retain_batch: int = 96
    target: float = 0.5
    """Share of the forgotten classes' hold-out to be recognised."""
    head_steps: int = 100
    """Steps that fit the newly drawn head to the retain set first."""
    head_lr: float = 0.1
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

    The copy's head is drawn anew first (a mask's bias would decide otherwise) and fitted to R
    alone: a head that knows no class yet would only show how soon it answers with the commonest
    label of the batches. Batches of F and R with true labels, the same for every model of a seed;
    BatchNorm and dropout stay in eval mode. The model given is never changed.

    Raises:
        NotComputable: no forget, retain or hold-out sample.
        NonFiniteLoss: the copy diverged.
    """
    recipe, cancel = recipe or RelearningRecipe(), cancel or CancelToken()
    if not (len(forget) and len(retain) and len(holdout_forgotten)):
        raise NotComputable("relearning needs samples in all sets: forget, retain and hold-out")
    pupil = copy.deepcopy(model).to(retain.device).eval().requires_grad_(requires_grad=False)
    head = find_module(pupil, classifier)
    if not isinstance(head, nn.Linear | nn.Conv2d):
        raise TypeError(f"{classifier!r} is no linear layer or convolution that can be drawn anew")
    with seeded(derive_seed(seed, "relearning head"), retain.device):
        head.reset_parameters()
    draws = generator(seed, "relearning batches")
    fitted = _optimiser(head, recipe.head_lr, recipe.momentum)
    parts = [(retain, recipe.forget_batch + recipe.retain_batch)]
    _walk(pupil, fitted, parts, recipe.head_steps, draws, cancel)
    return _until_recognised(pupil, forget, retain, holdout_forgotten, recipe, draws, cancel)


@torch.no_grad()
def recall(model: nn.Module, images: Images) -> float:
    """Return the share of images that a model in eval mode recognises."""
    hits = 0
    indices = split_evenly(len(images), 512)
    for index, x in zip(indices, images.batches(indices), strict=True):
        hits += int((model(x).argmax(dim=1).cpu() == images.labels[index]).sum())
    return hits / len(images)


def _until_recognised(  # noqa: PLR0917 - the second half of `relearn`
    pupil: nn.Module,
    forget: Images,
    retain: Images,
    holdout: Images,
    recipe: RelearningRecipe,
    draws: torch.Generator,
    cancel: CancelToken,
) -> Relearning:
    """Train on forget and retain samples, looking every few steps."""
    optimiser = _optimiser(pupil, recipe.lr, recipe.momentum)
    parts = [(forget, recipe.forget_batch), (retain, recipe.retain_batch)]
    step, curve = 0, [(0, recall(pupil, holdout))]
    while curve[-1][1] < recipe.target and step < recipe.cap:
        steps = min(recipe.every, recipe.cap - step)
        _walk(pupil, optimiser, parts, steps, draws, cancel)
        step += steps
        curve.append((step, recall(pupil, holdout)))
    return Relearning(step, censored=curve[-1][1] < recipe.target, curve=tuple(curve))


def _walk(  # noqa: PLR0917 - private
    model: nn.Module,
    optimiser: torch.optim.SGD,
    parts: list[tuple[Images, int]],
    steps: int,
    draws: torch.Generator,
    cancel: CancelToken,
) -> None:
    for _ in range(steps):
        cancel.raise_if_cancelled()
        _take_step(model, optimiser, *_draw(parts, draws))


def _optimiser(module: nn.Module, lr: float, momentum: float) -> torch.optim.SGD:
    """Optimise the module's parameters, which so far were frozen."""
    parameters = list(module.requires_grad_().parameters())
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum)


def _draw(parts: list[tuple[Images, int]], draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one batch with replacement; the generator decides, not the model."""
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
