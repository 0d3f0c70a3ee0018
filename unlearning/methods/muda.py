"""Machine unlearning by dimensional alignment, after Seo, Kim and Han (arXiv 2407.17710).

Written after the paper's abstract and summaries of it, with an energy term of our own. A retrained
model sees a class that it never learnt as a weak mixture of those it knows. So the forget step
turns the forget features into the subspace that the retain features span (alignment), bounds
their length there (energy), and takes the class out of the predictions (masked distillation); the
recover step trains on the retain set. By default all weights start half-way to freshly drawn ones
and the last stage anew: steered alone, the old weights keep more energy on the class than a
retraining has. With `beta=0`, `keep=1` and `restart_last_stage=False` it is the plain form.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.data import Images
from unlearning.errors import NonFiniteLoss, NotComputable
from unlearning.features import Outputs, Tap, extract, find_module
from unlearning.methods.contract import Method
from unlearning.methods.descent import share_of
from unlearning.methods.distillation import divergence_from, masked_target, recovery_loss
from unlearning.methods.freezing import frozen_early
from unlearning.methods.geometry import RetainGeometry
from unlearning.methods.guard import Guard, watched
from unlearning.methods.perturbation import restart_last_stage, shrink_towards_fresh
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, generator, seeded
from unlearning.settings import check_ranges, check_types
from unlearning.training import Batch, Epoch, LossStep, Schedule, Walk, split, train

_NUM_NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class Muda(Method):
    """Alternate forget and recover steps, then recover alone.

    Forget step, batch norm in eval mode, on whole classes:
    alpha·(1 − da) + beta·relu(log ρ − log rho_star) + KL(masked original ‖ student).
    On single samples of retained classes neither alignment nor energy has a known direction, and
    the original leaks what it memorised: there the forget step is KL(target ‖ student) alone, with
    the problem's `forget_predictions` as target, or else the labels of the ten retain samples that
    are nearest at the input of the student's last stage.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "muda"
    version: ClassVar[str] = "5"

    alpha: float = 3.0
    """Weight of the alignment."""
    beta: float = 3.0
    """Weight of the energy; 0 for the plain form."""
    rho_star: float = 0.3
    """Energy ratio that the forget steps aim at; never taken from the audit. The recovery raises it
    again, so it lies below what a class never learnt has."""
    keep: float = 0.5
    """What is kept of the old weights before the first step; the rest is freshly drawn."""
    restart_last_stage: bool = True
    """Whether the last stage and the classifier are drawn anew first."""
    frozen_share: float = 0.0
    """Share of the layers before the last stage, the first ones, that keep their old weights and
    are not trained; only ever in class scope."""
    relative_lead_epochs: float = 0.0
    """Epochs of recovery before the first forget step, as a share of the recipe's; none for 0."""
    epochs: int = 1
    """Epochs of forgetting and recovery."""
    relative_tail_epochs: float = 0.32
    """Epochs of recovery alone at the end, as a share of the recipe's; none for 0."""
    alternate: Literal["epoch", "batch"] = "epoch"
    """Whether forget and recover steps take turns by epoch or by batch."""
    forget_share: float = 0.33
    """Fewest forget steps for each recover step; small forget sets are walked over repeatedly."""
    relative_lr: float = 1.0
    """Largest learning rate as a fraction of the recipe's peak."""
    schedule: Schedule = "one_cycle"
    """Whether the learning rate rises before it falls to zero, or only falls."""
    relative_forget_lr: float = 1.0
    """Learning rate of forget steps as a fraction of that of recover steps."""
    retain_fraction: float = 1.0
    """Share of the retain set that an epoch walks over, another share each time."""
    distillation: bool = False
    """Whether the original teaches in the recovery; only ever in class scope."""
    distillation_weight: float = 1.0
    """Weight of the teacher beside the labels."""
    temperature: float = 4.0
    """Softness of the teacher in the recovery."""
    statistics_samples: int = 8192
    """Retain samples from which the geometry is measured in each epoch."""
    validation_share: float = 0.0
    """Share of the retain set that validates and trains nothing; 0 for no early stop."""
    max_drop: float = 0.05
    """Fall of validation accuracy below the best forget epoch's by which forgetting ends: the
    weights of that epoch come back and recovery alone goes on."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "alpha": 0 <= self.alpha <= 1000,
            "beta": 0 <= self.beta <= 1000,
            "rho_star": 0 < self.rho_star <= 100,
            "keep": 0 <= self.keep <= 1,
            "frozen_share": 0 <= self.frozen_share <= 1,
            "relative_lead_epochs": 0 <= self.relative_lead_epochs <= 10,
            "epochs": self.epochs >= 1,
            "relative_tail_epochs": 0 <= self.relative_tail_epochs <= 10,
            "forget_share": 0 <= self.forget_share <= 10,
            "relative_lr": 0 < self.relative_lr <= 10,
            "relative_forget_lr": 0 < self.relative_forget_lr <= 10,
            "retain_fraction": 0 < self.retain_fraction <= 1,
            "distillation_weight": 0 < self.distillation_weight <= 100,
            "temperature": 0 < self.temperature <= 100,
            "statistics_samples": self.statistics_samples >= 2,
            "validation_share": 0 <= self.validation_share <= 0.5,
            "max_drop": 0 <= self.max_drop <= 1,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the model that has forgotten."""
        model = problem.copy_model()
        share = self.frozen_share if problem.scope == "class" else 0.0
        settings = problem.settings
        recipe = replace(settings, peak_lr=settings.peak_lr * self.relative_lr)
        retain, guard = watched(problem, model, self.validation_share, self.max_drop)
        with frozen_early(model, problem.classifier, share):
            with seeded(derive_seed(problem.seed, "perturbation"), problem.device):
                self._perturb(model, problem.classifier)
            train(
                model,
                self._plan(problem, model, retain, guard),
                recipe,
                seed=problem.seed,
                schedule=self.schedule,
                phase=self.name,
                progress=problem.progress,
                cancel=problem.cancel,
            )
        guard.look()
        return model

    def _perturb(self, model: nn.Module, classifier: str) -> None:
        if self.keep < 1:
            shrink_towards_fresh(model, self.keep)
        if self.restart_last_stage:
            restart_last_stage(model, classifier)

    def _plan(
        self, problem: Problem, model: nn.Module, retain: Images, guard: Guard
    ) -> Sequence[Epoch]:
        """List the epochs: recovery, then forgetting and recovery in turn, then recovery."""
        forgetting = _Forgetting(self, problem, model, guard)
        forget = Walk(
            images=problem.forget,
            loss=forgetting.loss(),
            batch_statistics=False,
            relative_lr=self.relative_forget_lr,
            active=lambda: not guard.stopped,
        )
        size = problem.settings.batch_size
        recover_steps = self.retain_fraction * len(retain) / size
        forget_steps = len(split(len(problem.forget), size))
        repeats = max(1, math.ceil(self.forget_share * recover_steps / forget_steps))
        weight = self.distillation_weight if self.distillation else 0.0
        recovery = recovery_loss(problem, weight, self.temperature)
        plan: list[Epoch] = []
        lead, tail = (
            problem.settings.epochs_of(share) if share else 0
            for share in (self.relative_lead_epochs, self.relative_tail_epochs)
        )
        for number in range(lead + self.epochs + tail):
            part = share_of(retain, self.retain_fraction, derive_seed(problem.seed, number))
            recover = Walk(images=part, loss=recovery)
            if lead <= number < lead + self.epochs:
                walks, prepare = [*[forget] * repeats, recover], forgetting.refresh
                mixed = self.alternate == "batch"
                plan.append(Epoch(walks=walks, interleaved=mixed, prepare=prepare))
            else:
                after = number == lead + self.epochs
                plan.append(Epoch(walks=[recover], prepare=guard.look if after else None))
        return plan


class _Forgetting:
    """The forget step's loss, with the geometry and the targets that it refers to."""

    def __init__(self, method: Muda, problem: Problem, model: nn.Module, guard: Guard) -> None:
        self.method, self.problem, self.model, self.guard = method, problem, model, guard
        order = torch.randperm(len(problem.retain), generator=generator(problem.seed, "statistics"))
        self.sample = problem.retain.subset(order[: method.statistics_samples])
        self.classifier = find_module(model, problem.classifier)
        self.whole = torch.isin(problem.forget.labels, torch.tensor(problem.forgotten_classes))
        original = extract(problem.copy_model(), problem.forget, problem.classifier, stages=False)
        self.targets = masked_target(original.logits, problem.forgotten_classes)
        if problem.forget_predictions is not None:
            given = problem.forget_predictions.cpu().float()
            self.targets = torch.where(self.whole[:, None], self.targets, given)

    def refresh(self) -> None:
        """Measure the student's geometry, and the neighbours where they are the target.

        Raises:
            NonFiniteLoss: the student gives every retain sample the same features: it is lost.
        """
        self.guard.look()
        if self.guard.stopped:
            return
        problem = self.problem
        neighbours = problem.scope != "class" and problem.forget_predictions is None
        seen = extract(self.model, self.sample, problem.classifier, stages=neighbours)
        asked = extract(self.model, problem.forget, problem.classifier, stages=neighbours)
        k = len(problem.retained_classes) - 1
        try:
            geometry = RetainGeometry.of(seen.features, asked.features, k)
            if neighbours:
                votes = _votes(seen, self.sample.labels, asked, problem.num_classes)
                self.targets = torch.where(self.whole[:, None], self.targets, votes)
        except NotComputable as error:
            raise NonFiniteLoss(f"muda cannot go on: {error.reason}") from error
        self.geometry = geometry.to(problem.device)
        self.sent = self.targets.to(problem.device, non_blocking=True)

    def loss(self) -> LossStep:
        """Make the loss step."""
        method, device = self.method, self.problem.device
        whole = self.whole.float().to(device, non_blocking=True)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            with Tap(self.classifier) as tap:
                logits = model(batch.images)
            divergence = divergence_from(self.sent[batch.positions], logits)
            alignment, log_energy = self.geometry.measure(tap.value, whole[batch.positions])
            excess = functional.relu(log_energy - math.log(method.rho_star))
            return divergence + method.alpha * (1 - alignment) + method.beta * excess

        return loss


def _votes(known: Outputs, labels: Tensor, asked: Outputs, num_classes: int) -> Tensor:
    """Let the neighbours vote at the input of the last stage, or of the classifier without one."""
    if known.stage_features is None or asked.stage_features is None:
        return neighbour_votes(known.features, labels, asked.features, num_classes)
    return neighbour_votes(known.stage_features, labels, asked.stage_features, num_classes)


def neighbour_votes(known: Tensor, labels: Tensor, wanted: Tensor, num_classes: int) -> Tensor:
    """Return the label shares [m, K] among the ten nearest rows of `known` for rows of `wanted`.

    Distances are Euclidean on standardised channels (`channel_scale` of `known`).

    Raises:
        NotComputable: the known features are constant.
    """
    scale = channel_scale(Moments.of(known), wanted).to(known)
    distances = torch.cdist(wanted / scale, known / scale)
    nearest = distances.topk(min(_NUM_NEIGHBOURS, len(known)), largest=False).indices
    return functional.one_hot(labels[nearest], num_classes).float().mean(1)
