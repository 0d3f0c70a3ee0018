"""Masked distillation: learning from the original what is not to be forgotten.

The target is the original's softmax with the logits of forgotten classes at minus infinity
(masked distillation as in DELETE). It fits whole classes only: the original memorised single
samples of retained classes, and its soft targets on their neighbours carry them over even into
fresh weights. So there is no teacher unless the scope is `class`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.problem import Problem
from unlearning.training import Batch, LossStep, cross_entropy


def masked_target(
    logits: Tensor, forgotten_classes: Sequence[int], temperature: float = 1.0
) -> Tensor:
    """Return softmax(logits / temperature) over the retained classes, zero on forgotten ones.

    Args:
        logits: [b, K].
        forgotten_classes: Columns to mask; not all of them.
        temperature: Above 1 the target is softer.
    """
    masked = logits.float() / temperature
    for column in forgotten_classes:  # an index tensor would be a copy that the host waits for
        masked[:, column] = -torch.inf
    return masked.softmax(1)


def divergence_from(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the batch mean of KL(target ‖ softmax(logits / temperature))."""
    log_probabilities = functional.log_softmax(logits.float() / temperature, 1)
    return functional.kl_div(log_probabilities, target, reduction="batchmean")


def frozen_original(problem: Problem) -> nn.Module:
    """Return a copy of the original that only teaches: in eval mode, without gradients."""
    return frozen(problem.copy_model())


def frozen(model: nn.Module) -> nn.Module:
    """Make a model a teacher, in place: in eval mode, without gradients, channels last."""
    model.eval().requires_grad_(requires_grad=False)
    return model.to(memory_format=torch.channels_last)


def recovery_loss(problem: Problem, weight: float, temperature: float) -> LossStep:
    """Make the loss on retain samples: cross-entropy + weight · T² · KL(masked original ‖ student).

    Without weight, or with single samples to forget, it is cross-entropy alone.
    """
    supervised = cross_entropy(problem.settings.label_smoothing)
    if weight == 0 or problem.scope != "class":
        return supervised
    teacher = frozen_original(problem)
    smoothing = problem.settings.label_smoothing
    factor = weight * temperature**2

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            target = masked_target(teacher(batch.images), problem.forgotten_classes, temperature)
        logits = model(batch.images)
        supervised = functional.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
        return supervised + factor * divergence_from(target, logits, temperature)

    return loss
