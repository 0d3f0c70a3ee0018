"""One draw: what is to be forgotten, the references, and the originals, all trained anew."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearning.audit import AuditedModel, AuditResult, AuditTask, Policy, audit
from unlearning.audit.laboratory import Laboratory
from unlearning.audit.measure import Part, split_parts
from unlearning.audit.measurement import Measurement
from unlearning.calibration import requests
from unlearning.calibration.benches import Bench
from unlearning.data import TensorImages
from unlearning.features import extract
from unlearning.problem import Problem
from unlearning.randomness import derive_seed, generator
from unlearning.training import train_from_recipe

Scope = Literal["class", "instance"]
Kind = Literal["one class", "mislabelled", "random", "memorised"]

KEY = "request"


@dataclass(frozen=True, kw_only=True)
class DrawPlan:
    """What a draw is made of; equal plans give equal draws on one machine."""

    bench: str
    scope: Scope
    seed: int
    originals: int = 5
    retrained: int = 8
    kind: Kind | None = None
    """What is asked for; by default a class, or in instance scope mislabelled samples."""
    label: int | None = None
    """The class that is asked for; by default drawn by the seed."""
    number: int = 20
    """How many memorised samples are asked for, and as many others."""

    @property
    def request(self) -> Kind:
        """What is asked for."""
        return self.kind or ("one class" if self.scope == "class" else "mislabelled")

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, without what was left to the defaults."""
        late = {"kind": None, "label": None, "number": 20}
        return {k: v for k, v in asdict(self).items() if k not in late or v != late[k]}


class Draw:
    """Trains and holds the networks of one plan.

    In class scope a class, given or drawn by the seed, is forgotten whole; `requests` tells what
    is asked for in instance scope.
    """

    def __init__(
        self,
        plan: DrawPlan,
        bench: Bench,
        policy: Policy,
        cache_dir: Path,
        *,
        look: int = 1,
        relearn: bool = False,
        weights_dir: Path | None = None,
    ) -> None:
        """Choose what is to be forgotten; networks are trained when asked for.

        Args:
            plan: What to draw.
            bench: Its data set.
            policy: By which candidates are audited.
            cache_dir: Where the audit keeps its figures.
            look: Counts from 1; the references of a look are those of the one before and more.
            relearn: Whether audits measure relearning though no gate needs it.
            weights_dir: Where trained networks are kept and found again; nowhere by default.
        """
        self.plan, self.bench, self.policy, self.cache_dir = plan, bench, policy, cache_dir
        self.look, self.relearn, self.weights_dir = look, relearn, weights_dir
        train, self.holdout = bench.split(plan.seed)
        self.train, asked = self._ask(train)
        self.forget = self.train.subset(asked.nonzero()[:, 0])
        self.retain = self.train.subset((~asked).nonzero()[:, 0])

    def _ask(self, train: TensorImages) -> requests.Asked:
        plan, bench = self.plan, self.bench
        draws = generator(plan.seed, bench.name, plan.scope, "forget set")
        if plan.request == "mislabelled":
            return requests.mislabelled(train, draws)
        if plan.request == "random":
            return requests.at_random(train, draws)
        if plan.request == "memorised":
            return requests.memorised(train, draws, plan.number, self._fold_logits, plan.seed)
        drawn = int(torch.randint(bench.num_classes, (1,), generator=draws))
        return requests.one_class(train, drawn if plan.label is None else plan.label)

    def _fold_logits(self, rest: TensorImages, fold: int) -> Tensor:
        train, _ = self.bench.split(self.plan.seed)
        model = self._fit(rest, "fold", fold)
        return extract(model, train, self.bench.classifier, stages=False).logits

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
            device=self.retain.device,
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
            relearn=self.relearn,
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
        bench = self.bench
        seed = derive_seed(self.plan.seed, bench.name, role, number)

        def train() -> nn.Module:
            return train_from_recipe(bench.build, images, bench.recipe, seed=seed)

        if self.weights_dir is None:
            return train()
        parts = (bench.recipe.to_dict(), bench.architecture, dict(bench.kwargs), seed)
        key = hashlib.sha256(f"{parts} {_digest(images)}".encode()).hexdigest()
        return kept(self.weights_dir / f"{key}.safetensors", bench.build, train).to(images.device)


def _audited(model: nn.Module, digest: str | None) -> AuditedModel:
    return AuditedModel(load=lambda: model, digest=digest)


def kept(path: Path, build: Callable[[], nn.Module], train: Callable[[], nn.Module]) -> nn.Module:
    """Return the network whose weights a file holds; train it and write the file when missing."""
    if path.exists():
        model = build()
        model.load_state_dict(load_file(path))
        return model.eval()
    model = train()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(model.state_dict(), part)
    part.replace(path)
    return model


def _digest(images: TensorImages) -> str:
    pixels = hashlib.sha256(images.images.cpu().numpy().tobytes())
    pixels.update(images.labels.numpy().tobytes())
    return pixels.hexdigest()
