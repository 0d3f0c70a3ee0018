"""Bad teacher: learn from the original on the retain set, from a random network on the forget set.

Chundawat, Tarun, Mandal and Kankanhalli, "Can Bad Teaching Induce Forgetting?" (arXiv 2205.08096):
with l_u = 1 on forget samples and 0 on others, the student minimises
(1 − l_u) · KL(competent teacher ‖ student) + l_u · KL(incompetent teacher ‖ student), over all of F
and a part of R. The part (.3) and the temperature (1) follow published runs; epochs and learning
rate are ours, because the one training loop has another optimiser.

Deviations: batches of F and of R are mixed evenly instead of samples within a batch, and batch norm
is in eval mode on those of F. The incompetent teacher is the network with all its layers drawn
anew. In instance scope it teaches ignorance of samples that a retrained network would often
recognise: it forgets too much there, as published.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearning.methods.contract import Method
from unlearning.methods.descent import descend, share_of
from unlearning.methods.distillation import divergence_from, frozen, frozen_original
from unlearning.methods.perturbation import reinitialise
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, seeded
from unlearning.settings import check_ranges, check_types
from unlearning.training import Batch, Epoch, LossStep, Walk


@dataclass(frozen=True, kw_only=True)
class BadTeacher(Method):
    """Distil two teachers into a copy of the original.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "bad_teacher"
    version: ClassVar[str] = "1"

    epochs: int = 5
    """Walks over the forget set and the part of the retain set."""
    retain_fraction: float = 0.3
    """Part of the retain set that is used, drawn once."""
    temperature: float = 1.0
    """Softness of teachers and student."""
    relative_lr: float = 0.2
    """First learning rate as a fraction of the recipe's peak; it falls to zero along a cosine."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "epochs": self.epochs >= 1,
            "retain_fraction": 0 < self.retain_fraction <= 1,
            "temperature": 0 < self.temperature <= 100,
            "relative_lr": 0 < self.relative_lr <= 10,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the student."""
        part = share_of(problem.retain, self.retain_fraction, problem.seed)
        bad = Walk(
            images=problem.forget,
            loss=self.taught_by(incompetent_teacher(problem)),
            batch_statistics=False,
        )
        good = Walk(images=part, loss=self.taught_by(frozen_original(problem)))
        return descend(
            problem.copy_model(),
            [Epoch(walks=[bad, good], interleaved=True)] * self.epochs,
            problem,
            phase=self.name,
            relative_lr=self.relative_lr,
        )

    def taught_by(self, teacher: nn.Module) -> LossStep:
        """Make the loss KL(teacher ‖ student)."""

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            with torch.no_grad():
                target = (teacher(batch.images).float() / self.temperature).softmax(1)
            return divergence_from(target, model(batch.images), self.temperature)

        return loss


def incompetent_teacher(problem: Problem) -> nn.Module:
    """Draw a network of the original's layout anew, frozen layers included."""
    model = problem.copy_model().requires_grad_(requires_grad=True)
    with seeded(derive_seed(problem.seed, "incompetent teacher"), problem.device):
        reinitialise(model)
    return frozen(model)
