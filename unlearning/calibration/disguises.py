"""Disguises: copies of an original that hide what they know, or lose it only in their outputs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning import controls
from unlearning.audit.measurement import Measurement
from unlearning.errors import NonFiniteLoss
from unlearning.features import extract, find_module
from unlearning.problem import Problem
from unlearning.randomness import generator
from unlearning.training import Batch, Epoch, Walk, train

TEMPERATURE = 2.0
"""What the cooled copy's logits are divided by."""
NOISE = 0.05
"""Noise on masked copies, as a share of each weight tensor's standard deviation."""
MOST_EPOCHS = 20
"""Epochs after which gradient ascent gives up."""
_ASCENT_LR = 0.1
_ASCENT_CEILING = 20.0
_FEATURES = ("da", "log_rho", "nmi")
_POWERS = (2, 3, 4, 6)

Measure = Callable[[nn.Module], Measurement]


@torch.no_grad()
def masked_with_noise(problem: Problem) -> nn.Module:
    """Return a head-masked copy whose other weights are stirred a little, so that all changed."""
    model = controls.head_masked(problem)
    draws = generator(problem.seed, "noise")
    head = find_module(model, problem.classifier)
    kept = {id(parameter) for parameter in head.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in kept and parameter.numel() > 1:
            noise = torch.randn(parameter.shape, generator=draws).to(parameter.device)
            parameter.add_(noise * (NOISE * parameter.std()))
    return model


@torch.no_grad()
def cooled(problem: Problem) -> nn.Module:
    """Return a copy whose logits are divided by two: less sure of everything, the same features."""
    model = problem.copy_model().eval()
    for parameter in find_module(model, problem.classifier).parameters():
        parameter.div_(TEMPERATURE)
    return model


@torch.no_grad()
def forgotten_logit_lowered(problem: Problem) -> nn.Module:
    """Return a copy whose forgotten logits are just low enough never to win on the forget set."""
    model = problem.copy_model().eval()
    logits = extract(model, problem.forget, problem.classifier, stages=False).logits
    columns = list(problem.forgotten_classes)
    others = logits.clone()
    others[:, columns] = -torch.inf
    lead = logits[:, columns].amax(1) - others.amax(1)
    bias = find_module(model, problem.classifier).bias
    assert isinstance(bias, Tensor)  # noqa: S101 - the benches' networks have one
    bias[columns] -= float(lead.max().clamp_min(0)) + 0.1
    return model


def ascended(problem: Problem) -> nn.Module:
    """Return the original after gradient ascent on the forget set until it recognises none of it.

    Ascent on the cross-entropy (Thudi et al., arXiv 2109.13398), capped per sample so that a few
    do not take all of it; batch norm in eval mode. The last finite weights count where it
    diverges.
    """
    model = problem.copy_model()
    recipe = replace(problem.settings, peak_lr=problem.settings.peak_lr * _ASCENT_LR)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        each = functional.cross_entropy(network(batch.images), batch.labels, reduction="none")
        return -each.clamp_max(_ASCENT_CEILING).mean()

    walk = Walk(images=problem.forget, loss=loss, batch_statistics=False)
    for number in range(MOST_EPOCHS):
        try:
            train(model, [Epoch(walks=[walk])], recipe, seed=problem.seed + number)
        except NonFiniteLoss:
            break
        seen = extract(model, problem.forget, problem.classifier, stages=False).logits
        if not (seen.argmax(1) == problem.forget.labels).any():
            break
    return model.eval()


def rescaled_against_audit(
    problem: Problem, references: Sequence[Measurement], measure: Measure
) -> nn.Module:
    """Return the rescaled copy, of many, whose features measure nearest to the references'.

    Penultimate channels are multiplied by free positive factors that the classifier undoes: the
    outputs stay to the last bits. Tried are random factors of any size, and single channels or
    half of them blown up by up to a million. In class scope nearness is by da, log ρ and NMI in
    the references' standard deviations; elsewhere no feature is gated and the first copy is as
    good as any.
    """
    copies = [controls.rescaled(problem, factors) for factors in _scales(problem)]
    if problem.scope != "class":
        return copies[0]
    known = np.array([[entry.values[name] for name in _FEATURES] for entry in references])
    centre, spread = known.mean(axis=0), known.std(axis=0, ddof=1)

    def distance(model: nn.Module) -> float:
        figures = np.array([measure(model).values.get(name, np.inf) for name in _FEATURES])
        return float(np.square((figures - centre) / spread).sum())

    return min(copies, key=distance)


def _scales(problem: Problem) -> Iterator[Tensor]:
    """Yield factors [d] to try."""
    head = find_module(problem.model, problem.classifier)
    assert isinstance(head.weight, Tensor)  # noqa: S101 - a Problem's classifier is linear
    width = head.weight.shape[1]
    draws = generator(problem.seed, "scales")
    yield torch.exp2(torch.randint(-2, 3, (width,), generator=draws).float())
    for size in (1.0, 3.0):
        yield torch.exp(size * torch.randn(width, generator=draws))
    for power in _POWERS:
        one = torch.ones(width)
        one[int(torch.randint(width, (1,), generator=draws))] = 10.0**power
        yield one
        half = torch.ones(width)
        half[torch.randperm(width, generator=draws)[: width // 2]] = 10.0**power
        yield half
