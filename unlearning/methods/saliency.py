"""Gradients of a trained network over whole sets: which weights matter for which samples."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.data import Images
from unlearning.errors import InvalidProblem, NonFiniteLoss
from unlearning.features import split_evenly
from unlearning.problem import Problem
from unlearning.progress import Progress
from unlearning.training import REPORT_EVERY


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that need gradients, by name.

    Raises:
        InvalidProblem: when there are none.
    """
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise InvalidProblem("all parameters of the model are frozen: nothing can be changed")
    return found


def group_gradients(
    model: nn.Module, images: Images, size: int, problem: Problem, phase: str
) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield each group of at most `size` samples as their number and the gradient of their loss.

    The loss is the mean cross-entropy in eval mode, without augmentation; gradients are those of
    `trainable`, in its order. Reports progress and obeys the problem's token.

    Raises:
        NonFiniteLoss: when a gradient is not finite.
    """
    parameters = list(trainable(model).values())
    model.eval()
    indices = split_evenly(len(images), size)
    for step, (index, x) in enumerate(zip(indices, images.batches(indices), strict=True), start=1):
        problem.cancel.raise_if_cancelled()
        labels = images.labels[index].to(images.device)
        loss = functional.cross_entropy(model(x), labels)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        yield (
            len(index),
            [
                torch.zeros_like(p) if g is None else g
                for p, g in zip(parameters, found, strict=True)
            ],
        )
        if step % REPORT_EVERY == 0 or step == len(indices):
            problem.progress(Progress(phase, step, len(indices)))
    problem.cancel.raise_if_cancelled()


def mean_gradient(
    model: nn.Module, images: Images, problem: Problem, phase: str
) -> dict[str, Tensor]:
    """Return the gradient of the mean cross-entropy over a set, by parameter."""
    names = list(trainable(model))
    total = [torch.zeros_like(p) for p in trainable(model).values()]
    for number, gradients in group_gradients(
        model, images, problem.settings.batch_size, problem, phase
    ):
        for kept, gradient in zip(total, gradients, strict=True):
            kept.add_(gradient * number)
    return _finite(dict(zip(names, (kept / len(images) for kept in total), strict=True)))


def summed_squares(
    model: nn.Module, images: Images, size: int, problem: Problem, phase: str
) -> tuple[int, dict[str, Tensor]]:
    """Return the number of groups of a set and the sum over them of their squared gradients.

    With groups of one sample the mean is the diagonal of the empirical Fisher matrix.
    """
    names = list(trainable(model))
    total = [torch.zeros_like(p) for p in trainable(model).values()]
    groups = 0
    for _, gradients in group_gradients(model, images, size, problem, phase):
        groups += 1
        for kept, gradient in zip(total, gradients, strict=True):
            kept.add_(gradient.square())
    return groups, _finite(dict(zip(names, total, strict=True)))


def _finite(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, gradient in gradients.items():
        if not torch.isfinite(gradient).all():
            raise NonFiniteLoss(f"the original's gradient of {name} is not finite")
    return gradients
