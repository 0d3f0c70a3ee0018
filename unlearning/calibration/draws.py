"""One draw: what is to be forgotten, the references, and the originals, all trained anew."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unlearning.audit import AuditedModel, AuditResult, AuditTask, Policy, audit
from unlearning.audit.laboratory import Laboratory
from unlearning.audit.measure import Part, split_parts
from unlearning.audit.measurement import Measurement
from unlearning.calibration.benches import Bench
from unlearning.data import TensorImages
from unlearning.planting import wrong_labels
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, generator
from unlearning.training import train_from_recipe

Scope = Literal["class", "instance"]

NUM_WRONG = 40
"""Training labels that are wrong in a draw of mislabelled samples."""
NUM_ASKED = 20
"""Of these, how many are to be forgotten."""
KEY = "request"


@dataclass(frozen=True, kw_only=True)
class DrawPlan:
    """What a draw is made of; equal plans give equal draws on one machine."""

    bench: str
    scope: Scope
    seed: int
    originals: int = 5
    retrained: int = 8

    def to_json(self) -> dict[str, str | int]:
        """Return the plan as JSON values."""
        return asdict(self)


class Draw:
    """Trains and holds the networks of one plan.

    In class scope a class drawn by the seed is forgotten whole. In instance scope 40 training
    labels are wrong, and 20 of these samples are forgotten. `look` counts from 1; the references of
    a look are those of the one before and more.
    """

    def __init__(
        self, plan: DrawPlan, bench: Bench, policy: Policy, cache_dir: Path, look: int = 1
    ) -> None:
        self.plan, self.bench, self.policy, self.cache_dir = plan, bench, policy, cache_dir
        self.look = look
        train, self.holdout = bench.split(plan.seed)
        draws = generator(plan.seed, bench.name, plan.scope, "forget set")
        if plan.scope == "class":
            self.train = train
            label = int(torch.randint(bench.num_classes, (1,), generator=draws))
            asked = train.labels == label
        else:
            self.train, asked = _mislabel(train, draws)
        self.forget = self.train.subset(asked.nonzero()[:, 0])
        self.retain = self.train.subset((~asked).nonzero()[:, 0])

    @cached_property
    def references(self) -> list[nn.Module]:
        """The retrained references of the look."""
        count = self.policy.looks[self.look - 1]
        return [self._retrain("reference", number) for number in range(count)]

    @cached_property
    def originals(self) -> list[nn.Module]:
        """The originals, which saw everything."""
        return [self._fit(self.train, "original", number) for number in range(self.plan.originals)]

    def retrained(self, number: int) -> nn.Module:
        """Train a genuine retrain that is no reference."""
        return self._retrain("retrained", number)

    def problem(self, original: int) -> Problem:
        """Return the problem of forgetting, for one of the originals."""
        return Problem(
            model=self.originals[original],
            forget=self.forget,
            retain=self.retain,
            holdout=self.holdout,
            classifier=self.bench.classifier,
            num_classes=self.bench.num_classes,
            seed=derive_seed(self.plan.seed, "problem", original),
            recipe=self.bench.recipe,
            build=self.bench.build,
        )

    def audit(self, candidate: nn.Module, original: int) -> AuditResult:
        """Audit a candidate as if it had been made from one of the originals."""
        return audit(self._task(candidate, original))[KEY]

    def measure(self, model: nn.Module, original: int) -> Measurement:
        """Return the figures on the forget set of a network, which is not kept in the cache."""
        task = self._task(model, original)
        return Laboratory(task).measure(task.candidate, self._parts(task))[KEY]

    def measured_references(self, original: int) -> list[Measurement]:
        """Return the figures on the forget set of all references."""
        task = self._task(self.originals[original], original)
        laboratory, parts = Laboratory(task), self._parts(task)
        return [laboratory.measure(model, parts)[KEY] for model in task.references]

    def _task(self, candidate: nn.Module, original: int) -> AuditTask:
        return AuditTask(
            original=_audited(self.originals[original], f"original {original}"),
            candidate=_audited(candidate, None),
            references=[
                _audited(model, f"reference {number}")
                for number, model in enumerate(self.references)
            ],
            retain=self.retain,
            holdout=self.holdout,
            erased=self.forget,
            forget_sets={KEY: range(len(self.forget))},
            classifier=self.bench.classifier,
            num_classes=self.bench.num_classes,
            policy=self.policy,
            look=self.look,
            relearn=False,
            cache_dir=self.cache_dir,
            data_digest=str(self.plan),
        )

    def _parts(self, task: AuditTask) -> Mapping[str, Part]:
        samples = Laboratory(task).samples
        [part] = split_parts(samples, torch.arange(len(self.forget)))
        return {KEY: part}

    def _retrain(self, role: str, number: int) -> nn.Module:
        return self._fit(self.retain, role, number)

    def _fit(self, images: TensorImages, role: str, number: int) -> nn.Module:
        seed = derive_seed(self.plan.seed, self.bench.name, role, number)
        return train_from_recipe(self.bench.build, images, self.bench.recipe, seed=seed)


def _audited(model: nn.Module, digest: str | None) -> AuditedModel:
    return AuditedModel(load=lambda: model, digest=digest)


def _mislabel(train: TensorImages, draws: torch.Generator) -> tuple[TensorImages, Tensor]:
    """Give some samples another label; return the set and which of them are to be forgotten."""
    chosen = torch.randperm(len(train), generator=draws)[:NUM_WRONG]
    labels = train.labels.clone()
    labels[chosen] = wrong_labels(labels[chosen], train.num_classes, draws)
    asked = torch.zeros(len(train), dtype=torch.bool)
    asked[chosen[:NUM_ASKED]] = True
    images = TensorImages(train.images, labels, train.num_classes, train.mean, train.std)
    return images, asked
