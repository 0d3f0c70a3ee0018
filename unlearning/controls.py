"""Models that only look as if they had forgotten; an audit that lets one pass has no power.

Each control is the original but for its outputs or its feature scales. The layout of the state
dictionary stays the original's; where that cannot hold exactly, a hook on the copy does the work.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.errors import NotComputable
from unlearning.features import Tap, extract, find_module
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, generator, seeded

MASKED_LOGIT = -1e4
"""Logit of a masked class; its probability is zero in float32."""
_LARGEST_EXPONENT = 2
_REFIT_SAMPLES = 20_000
_REFIT_STEPS = 100
_REFIT_PENALTY = 1e-4
_PROBE_IMAGES = 64


@torch.no_grad()
def head_masked(problem: Problem) -> nn.Module:
    """Return the original with the logits of forgotten classes fixed at `MASKED_LOGIT`.

    Raises:
        NotComputable: when no whole class is forgotten.
    """
    if not problem.forgotten_classes:
        raise NotComputable("no whole class is forgotten, so there is no logit to mask")
    model = problem.copy_model().eval()
    head = _head(model, problem.classifier)
    columns = list(problem.forgotten_classes)
    if head.bias is None:
        head.register_forward_hook(_Mask(columns))
    else:
        head.weight[columns] = 0
        head.bias[columns] = MASKED_LOGIT
    return model


def head_refitted(problem: Problem) -> nn.Module:
    """Return the original with a new classifier fitted to the retain set on frozen features.

    Multinomial logistic regression by L-BFGS on at most 20,000 retain samples, drawn by the
    problem's seed; the features are the original's to the bit.
    """
    model = problem.copy_model().eval()
    order = torch.randperm(len(problem.retain), generator=generator(problem.seed, "refit"))
    sample = problem.retain.subset(order[:_REFIT_SAMPLES])
    features = extract(model, sample, problem.classifier, stages=False).features
    head = _head(model, problem.classifier)
    with seeded(derive_seed(problem.seed, "refit"), problem.device):
        fresh = nn.Linear(features.shape[1], problem.num_classes, bias=head.bias is not None)
    _fit_linear(fresh, features, sample.labels)
    with torch.no_grad():
        head.weight.copy_(fresh.weight.view_as(head.weight))
        if head.bias is not None:
            head.bias.copy_(fresh.bias)
    return model


def channels_rescaled(problem: Problem) -> nn.Module:
    """Return the original with its penultimate channels multiplied by random positive factors.

    Factors are powers of two from 1/4 to 4: the rounding of floats doesn't see them.
    """
    width = _head(problem.model, problem.classifier).weight.shape[1]
    draws = generator(problem.seed, "rescaling")
    exponents = torch.randint(-_LARGEST_EXPONENT, _LARGEST_EXPONENT + 1, (width,), generator=draws)
    return rescaled(problem, torch.exp2(exponents.float()))


@torch.no_grad()
def rescaled(problem: Problem, factors: Tensor) -> nn.Module:
    """Return the original with its penultimate channels multiplied by positive `factors` [d].

    The classifier's columns are divided by them, so the outputs stay. Where the last batch norm
    feeds the classifier through nothing but ReLU and pooling (checked by comparing outputs) the
    factors go into it, otherwise a hook multiplies what the classifier is given.
    """
    model = problem.copy_model().eval()
    factors = factors.to(problem.device)
    images = problem.retain.batch(torch.arange(min(len(problem.retain), _PROBE_IMAGES)))
    copied = copy.deepcopy(model)
    if _scale_last_norm(copied, problem.classifier, factors):
        before, after = (_look(net, problem.classifier, images) for net in (model, copied))
        moved = torch.allclose(after[0], before[0] * factors, rtol=1e-4, atol=1e-6)
        if moved and torch.allclose(after[1], before[1], rtol=1e-4, atol=1e-5):
            return copied
    head = _head(model, problem.classifier)
    head.register_forward_pre_hook(_Rescale(factors))
    _divide_columns(head, factors)
    return model


class _Mask:
    """Forward hook that overwrites some logits."""

    def __init__(self, columns: list[int]) -> None:
        self.columns = columns

    def __call__(self, _module: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
        where = torch.tensor(self.columns, device=logits.device)
        return logits.index_fill(1, where, MASKED_LOGIT)


class _Rescale:
    """Forward pre-hook that multiplies channels."""

    def __init__(self, factors: Tensor) -> None:
        self.factors = factors

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (x,) = inputs
        shape = (-1, 1, 1) if x.dim() == 4 else (-1,)
        return (x * self.factors.to(x).view(shape),)


def _head(model: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    head = find_module(model, name)
    assert isinstance(head, nn.Linear | nn.Conv2d)  # noqa: S101 - a Problem's classifier is
    return head


def _scale_last_norm(model: nn.Module, classifier: str, factors: Tensor) -> bool:
    """Scale the last batch norm before the classifier and divide the classifier's columns."""
    norms: list[nn.BatchNorm1d | nn.BatchNorm2d] = []
    for name, module in model.named_modules():
        if name == classifier:
            break
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine:
            norms.append(module)
    if not norms or norms[-1].weight.shape != factors.shape:
        return False
    norm = norms[-1]
    norm.weight.mul_(factors)
    norm.bias.mul_(factors)
    _divide_columns(_head(model, classifier), factors)
    return True


def _divide_columns(head: nn.Linear | nn.Conv2d, factors: Tensor) -> None:
    head.weight.div_(factors.view((-1, 1, 1) if head.weight.dim() == 4 else (-1,)))


def _look(model: nn.Module, classifier: str, images: Tensor) -> tuple[Tensor, Tensor]:
    with Tap(find_module(model, classifier)) as tap:
        logits: Tensor = model(images)
    return tap.value, logits


def _fit_linear(layer: nn.Linear, features: Tensor, labels: Tensor) -> None:
    """Fit by L-BFGS on standardised features, then fold the standardisation into the layer."""
    mean, sd = features.mean(0), features.std(0, correction=0)
    sd = sd.clamp_min(max(1e-3 * float(sd.max()), 1e-12))
    shift = mean if layer.bias is not None else torch.zeros_like(mean)
    x = (features - shift) / sd
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=_REFIT_STEPS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(layer(x), labels)
        loss = loss + _REFIT_PENALTY * layer.weight.square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.div_(sd)
        if layer.bias is not None:
            layer.bias.sub_(layer.weight @ shift)
