"""A control that aims at the gates on purpose while it keeps the class.

A second classifier on the penultimate features, thrown away at the end, goes on learning the
forgotten class, while alignment and energy are pushed to what the references have and the visible
outputs forget. What it hides is what probes, earlier stages and relearning are there to find.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.features import Tap, extract, find_module
from unlearning.methods.distillation import divergence_from, masked_target, recovery_loss
from unlearning.methods.geometry import RetainGeometry
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, seeded
from unlearning.training import Batch, Epoch, LossStep, Walk, train

EPOCHS = 6
"""Epochs of forgetting and recovery in turn."""
WEIGHT = 1.0
"""Weight of the hidden classifier, and of each of the two aims, beside the visible losses."""
_ALIGNMENT_WEIGHT = 10.0


class _TwoHeads(nn.Module):
    """A network and a second classifier on its penultimate features; forward is the network's."""

    def __init__(self, model: nn.Module, classifier: str, num_classes: int) -> None:
        super().__init__()
        self.model, self.classifier = model, classifier
        self.hidden = nn.LazyLinear(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits

    def both(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [b, K], hidden logits [b, K] and penultimate features [b, d]."""
        with Tap(find_module(self.model, self.classifier)) as tap:
            logits = self.model(images)
        return logits, self.hidden(tap.value), tap.value


def hidden_head(problem: Problem, alignment: float, log_energy: float) -> nn.Module:
    """Return a copy of the original that keeps a class under the gates' radar as far as it can.

    Args:
        problem: One that forgets whole classes.
        alignment: Where da of the forget set shall end, in [0, 1]: the references' mean.
        log_energy: Where its log ρ shall end, likewise.
    """
    with seeded(derive_seed(problem.seed, "hidden head"), problem.device):
        both = _TwoHeads(problem.copy_model(), problem.classifier, problem.num_classes)
        both = both.to(problem.device)
        with torch.no_grad():
            both.both(problem.forget.batch(torch.arange(1)))
    geometry = _Geometry(problem, both)
    forget = Walk(
        images=problem.forget,
        loss=_hiding(problem, geometry, alignment, log_energy),
        batch_statistics=False,
    )
    recover = Walk(images=problem.retain, loss=_keeping(problem))
    epoch = Epoch(walks=[forget, recover], interleaved=True, prepare=geometry.refresh)
    train(both, [epoch] * EPOCHS, problem.settings, seed=problem.seed, schedule="falling")
    return both.model.eval()


class _Geometry:
    """The retain features' geometry, measured anew in each epoch."""

    def __init__(self, problem: Problem, both: _TwoHeads) -> None:
        self.problem, self.both = problem, both

    def refresh(self) -> None:
        problem = self.problem
        seen, asked = (
            extract(self.both.model, images, problem.classifier, stages=False).features
            for images in (problem.retain, problem.forget)
        )
        geometry = RetainGeometry.of(seen, asked, len(problem.retained_classes) - 1)
        self.now = geometry.to(problem.device)


def _hiding(problem: Problem, geometry: _Geometry, alignment: float, log_energy: float) -> LossStep:
    original = extract(problem.copy_model(), problem.forget, problem.classifier, stages=False)
    targets = masked_target(original.logits, problem.forgotten_classes).to(problem.device)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, _TwoHeads)  # noqa: S101 - what `hidden_head` trains
        logits, hidden, features = model.both(batch.images)
        da, log_rho = geometry.now.measure(features, torch.ones_like(batch.labels).float())
        aims = _ALIGNMENT_WEIGHT * (da - alignment).abs() + (log_rho - log_energy).abs()
        kept = functional.cross_entropy(hidden, batch.labels)
        return divergence_from(targets[batch.positions], logits) + WEIGHT * (aims + kept)

    return loss


def _keeping(problem: Problem) -> LossStep:
    visible = recovery_loss(problem, weight=1.0, temperature=4.0)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, _TwoHeads)  # noqa: S101 - what `hidden_head` trains
        _, hidden, _ = model.both(batch.images)
        return visible(model, batch) + WEIGHT * functional.cross_entropy(hidden, batch.labels)

    return loss
