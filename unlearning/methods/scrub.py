"""SCRUB: leave the original on the forget set and stay with it on the retain set, in turn.

Kurmanji, Triantafillou, Hayes and Triantafillou, "Towards Unbounded Machine Unlearning" (arXiv
2302.09880): the student, started at the teacher (the original), minimises
α · KL(teacher ‖ student) + γ · cross-entropy on R and maximises KL(teacher ‖ student) on F, by
epochs in turn: one over F, then one over R, and after some rounds R alone. SCRUB+R rewinds to the
epoch after which the error on F was nearest to the error that the final model makes on unseen
samples of the same classes.

Defaults: temperature 4 and 3 rounds lie among the settings of published runs (2 to 4 rounds);
weights, epochs and learning rates are ours, chosen on toy problems and digits, because the one
training loop has another optimiser.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.data import Images
from unlearning.errors import InvalidProblem
from unlearning.features import extract
from unlearning.methods.contract import Method
from unlearning.methods.descent import descend
from unlearning.methods.distillation import divergence_from, frozen_original
from unlearning.problem import Problem
from unlearning.settings import check_ranges, check_types
from unlearning.training import Batch, Epoch, LossStep, Walk


@dataclass(frozen=True, kw_only=True)
class Scrub(Method):
    """Max epochs on F and min epochs on R in turn, then min epochs alone.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "scrub"
    version: ClassVar[str] = "1"

    epochs: int = 5
    """Min epochs: walks over the retain set."""
    max_epochs: int = 3
    """Of these, how many have a walk over the forget set before them."""
    alpha: float = 0.5
    """Weight of the teacher on the retain set."""
    gamma: float = 1.0
    """Weight of the labels on the retain set."""
    temperature: float = 4.0
    """Softness of teacher and student where they are compared."""
    relative_lr: float = 0.5
    """First learning rate as a fraction of the recipe's peak; it falls to zero along a cosine."""
    relative_max_lr: float = 3.0
    """Learning rate of max steps as a fraction of that of min steps."""
    rewind: bool = False
    """Whether this is SCRUB+R; it needs hold-out samples of the forget set's classes."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "epochs": self.epochs >= 1,
            "max_epochs": 0 <= self.max_epochs <= self.epochs,
            "alpha": 0 <= self.alpha <= 100,
            "gamma": 0 <= self.gamma <= 100,
            "temperature": 0 < self.temperature <= 100,
            "relative_lr": 0 < self.relative_lr <= 10,
            "relative_max_lr": 0 < self.relative_max_lr <= 10,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the scrubbed model.

        Raises:
            InvalidProblem: when rewinding is asked for and the hold-out has no sample of a forget
                set's class.
        """
        if self.rewind:
            check_matched(problem.forget, problem.holdout)
        model = problem.copy_model()
        history = _History(model, problem)
        descend(
            model,
            self.plan(problem, history),
            problem,
            phase=self.name,
            relative_lr=self.relative_lr,
        )
        return history.rewound() if self.rewind else model

    def plan(self, problem: Problem, history: "_History") -> list[Epoch]:
        """List the max epochs and min epochs in their order."""
        losses = self._losses(frozen_original(problem))
        forget = Walk(
            images=problem.forget,
            loss=losses[0],
            batch_statistics=False,
            relative_lr=self.relative_max_lr,
        )
        retain = Walk(images=problem.retain, loss=losses[1])
        keep = history.keep if self.rewind else None
        rounds = []
        for number in range(self.epochs):
            walks = [forget, retain] if number < self.max_epochs else [retain]
            rounds.append(Epoch(walks=walks, prepare=keep if number else None))
        return rounds

    def _losses(self, teacher: nn.Module) -> tuple[LossStep, LossStep]:
        """Make the loss of max steps and that of min steps."""

        def divergence(logits: Tensor, batch: Batch) -> Tensor:
            with torch.no_grad():
                target = (teacher(batch.images).float() / self.temperature).softmax(1)
            return self.temperature**2 * divergence_from(target, logits, self.temperature)

        def leave(model: nn.Module, batch: Batch) -> Tensor:
            return -divergence(model(batch.images), batch)

        def stay(model: nn.Module, batch: Batch) -> Tensor:
            logits = model(batch.images)
            supervised = functional.cross_entropy(logits, batch.labels)
            return self.alpha * divergence(logits, batch) + self.gamma * supervised

        return leave, stay


class _History:
    """The model after each round, and the way back to one of them."""

    def __init__(self, model: nn.Module, problem: Problem) -> None:
        self.model, self.problem = model, problem
        self.kept: list[dict[str, Tensor]] = []
        self.errors: list[float] = []

    def keep(self) -> None:
        """Remember the weights and the error on F."""
        state = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}
        self.kept.append(state)
        self.errors.append(matched_error(self.model, self.problem.forget, self.problem))

    def rewound(self) -> nn.Module:
        """Return the model at the round whose error on F is nearest to the reference."""
        self.keep()
        reference = matched_error(self.model, self.problem.holdout, self.problem)
        self.model.load_state_dict(self.kept[nearest_round(self.errors, reference)])
        return self.model


def nearest_round(errors: Sequence[float], reference: float) -> int:
    """Return the last of the rounds whose error is nearest to the reference."""
    return min(reversed(range(len(errors))), key=lambda number: abs(errors[number] - reference))


def matched_error(model: nn.Module, images: Images, problem: Problem) -> float:
    """Return the error on a set whose classes are weighted as the forget set has them."""
    logits = extract(model, images, problem.classifier, stages=False).logits
    wrong = (logits.argmax(1) != images.labels).float()
    counts = torch.bincount(problem.forget.labels)
    classes = counts.nonzero()[:, 0]
    means = torch.stack([wrong[images.labels == label].mean() for label in classes])
    return float((means * counts[classes]).sum() / counts.sum())


def check_matched(forget: Images, holdout: Images) -> None:
    """Refuse a hold-out that lacks a class of the forget set.

    Raises:
        InvalidProblem: naming the classes.
    """
    missing = sorted(set(forget.labels.tolist()) - set(holdout.labels.tolist()))
    if missing:
        raise InvalidProblem(
            f"rewinding needs hold-out samples of class {', '.join(map(str, missing))}: "
            "add some, or set rewind to false"
        )
