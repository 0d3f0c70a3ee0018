"""Boundary unlearning: move the decision boundary so that no forget sample is on its own side.

Chen, Gao, Liu, Peng and Wang, "Boundary Unlearning: Rapid Forgetting of Deep Networks via Shifting
the Decision Boundary" (arXiv 2303.11570, CVPR 2023). *Shrink*: a step of the fast gradient sign
method on each forget sample, x + ε · sign(∇ loss), finds its nearest other class, which it is then
taught. *Expand*: a shadow class is added to the classifier, the forget samples are taught it, and
it is pruned again. Both use F alone. Ten epochs and ε = .1 follow published runs, where pixels go
from 0 to 1: here ε is in units of the normalised images. The learning rate is ours.

Defined in the paper for one class. Here the nearest class is never a forgotten one, and single
samples are taught their nearest other class in the same way. Using no retain sample, it damages the
rest where F is large or the learning rate high.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.features import find_module, split_evenly
from unlearning.methods.contract import Method
from unlearning.methods.descent import descend
from unlearning.methods.distillation import frozen_original
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, seeded
from unlearning.settings import check_ranges, check_types
from unlearning.training import Batch, Epoch, Walk


@dataclass(frozen=True, kw_only=True)
class Boundary(Method):
    """Teach every forget sample the class beyond the nearest boundary, or a shadow class.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "boundary"
    version: ClassVar[str] = "1"

    form: Literal["shrink", "expand"] = "shrink"
    """Which of the paper's two methods."""
    epsilon: float = 0.1
    """Length of the step in every pixel, in normalised units; for `shrink`."""
    epochs: int = 10
    """Walks over the forget set."""
    relative_lr: float = 0.1
    """First learning rate as a fraction of the recipe's peak; it falls to zero along a cosine."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "epsilon": 0 < self.epsilon <= 100,
            "epochs": self.epochs >= 1,
            "relative_lr": 0 < self.relative_lr <= 10,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the model with the moved boundary."""
        model = problem.copy_model()
        if self.form == "shrink":
            return self._teach(model, nearest_classes(problem, self.epsilon), problem)
        own = widen_classifier(model, problem)
        shadow = torch.full((len(problem.forget),), problem.num_classes, device=problem.device)
        self._teach(model, shadow, problem)
        narrow_classifier(model, own, problem)
        return model

    def _teach(self, model: nn.Module, labels: Tensor, problem: Problem) -> nn.Module:
        def loss(model: nn.Module, batch: Batch) -> Tensor:
            return functional.cross_entropy(model(batch.images), labels[batch.positions])

        walk = Walk(images=problem.forget, loss=loss, batch_statistics=False)
        plan = [Epoch(walks=[walk])] * self.epochs
        return descend(model, plan, problem, phase=self.name, relative_lr=self.relative_lr)


def nearest_classes(problem: Problem, epsilon: float) -> Tensor:
    """Return each forget sample's likeliest other class after a step against its label, int64 [n].

    Neither the sample's own class nor a forgotten one is chosen; where all others are forgotten,
    only its own is ruled out.
    """
    model, images = frozen_original(problem), problem.forget
    banned = torch.zeros(problem.num_classes, dtype=torch.bool, device=problem.device)
    banned[list(problem.forgotten_classes)] = True
    found: list[Tensor] = []
    indices = split_evenly(len(images), problem.settings.batch_size)
    for index, x in zip(indices, images.batches(indices), strict=True):
        problem.cancel.raise_if_cancelled()
        labels = images.labels[index].to(problem.device)
        moved = x.detach().clone().requires_grad_()
        loss = functional.cross_entropy(model(moved), labels)
        [slope] = torch.autograd.grad(loss, [moved])
        with torch.no_grad():
            logits = model(x + epsilon * slope.sign()).float()
        own = functional.one_hot(labels, problem.num_classes).bool()
        closed = own | banned
        closed = torch.where(closed.all(1, keepdim=True), own, closed)
        found.append(logits.masked_fill(closed, -torch.inf).argmax(1))
    return torch.cat(found)


@torch.no_grad()
def widen_classifier(model: nn.Module, problem: Problem) -> nn.Linear | nn.Conv2d:
    """Give the classifier one more output, drawn anew, in place; return the module it replaces."""
    own = find_module(model, problem.classifier)
    assert isinstance(own, nn.Linear | nn.Conv2d)  # noqa: S101 - a Problem's classifier is
    bias = own.bias is not None
    with seeded(derive_seed(problem.seed, "shadow class"), problem.device):
        wide: nn.Linear | nn.Conv2d
        if isinstance(own, nn.Linear):
            wide = nn.Linear(own.in_features, own.out_features + 1, bias=bias)
        else:
            wide = nn.Conv2d(own.in_channels, own.out_channels + 1, 1, bias=bias)
    wide.to(problem.device)
    for kept, grown in _pairs(own, wide):
        grown[: len(kept)] = kept
        grown.requires_grad_(kept.requires_grad)
    _replace(model, problem.classifier, wide)
    return own


@torch.no_grad()
def narrow_classifier(model: nn.Module, own: nn.Linear | nn.Conv2d, problem: Problem) -> None:
    """Put the module `own` back in its place, with what the wider one has learnt, in place."""
    wide = find_module(model, problem.classifier)
    assert isinstance(wide, nn.Linear | nn.Conv2d)  # noqa: S101 - `widen_classifier` put it there
    for kept, grown in _pairs(own, wide):
        kept.copy_(grown[: len(kept)])
    _replace(model, problem.classifier, own.eval())


def _pairs(own: nn.Linear | nn.Conv2d, wide: nn.Linear | nn.Conv2d) -> list[tuple[Tensor, Tensor]]:
    pairs: list[tuple[Tensor, Tensor]] = [(own.weight, wide.weight)]
    if own.bias is not None and wide.bias is not None:
        pairs.append((own.bias, wide.bias))
    return pairs


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(find_module(model, parent), last, module)
