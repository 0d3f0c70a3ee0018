"""Load models one at a time, measure them once, and remember what was measured."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from unlearning import controls
from unlearning.audit.measure import SHARED, Part, measure
from unlearning.audit.measurement import METRICS_VERSION, Measurement
from unlearning.audit.observation import Samples, positions_of
from unlearning.audit.policy import CENSORED, RELEARNING
from unlearning.audit.task import AuditedModel, AuditTask
from unlearning.errors import NonFiniteLoss, NotComputable
from unlearning.metrics.relearning import RelearningRecipe, relearn
from unlearning.problem import Problem

Measured = dict[str, Measurement]


class Laboratory:
    """Measures the models of one task; with a cache directory nothing is measured twice."""

    def __init__(self, task: AuditTask) -> None:
        self.task = task
        self.samples = Samples(
            retain=task.retain,
            holdout=task.holdout,
            erased=task.erased,
            classifier=task.classifier,
            num_classes=task.num_classes,
            scale_floor=task.policy.scale_floor,
            seed=task.seed,
        )

    def measure(
        self, model: AuditedModel, parts: Mapping[str, Part], *, intervals: bool = False
    ) -> Measured:
        """Return the measurements of one model on the parts, and its shared one.

        The model is loaded only when one of them is not in the cache. The intervals that take
        long are drawn only if asked for.
        """
        self.task.cancel.raise_if_cancelled()
        kind = "intervals/" if intervals else ""
        names = {SHARED: SHARED} | {key: kind + _part_name(part) for key, part in parts.items()}
        paths = {key: self._path(model, name) for key, name in names.items()}
        known = {key: path and Measurement.load(path) for key, path in paths.items()}
        if all(known.values()):
            return {key: entry for key, entry in known.items() if entry}
        missing = {key: part for key, part in parts.items() if not known[key]}
        fresh = measure(self.load(model), self.samples, missing, intervals=intervals)
        for key, measured in fresh.items():
            if path := paths[key]:
                measured.save(path)
        return {key: entry for key, entry in known.items() if entry} | fresh

    def relearn(self, model: AuditedModel, part: Part) -> Measurement:
        """Return ``relearn.steps`` and the curve [m, 2]; at the cap ``relearn.censored`` is 1."""
        path = self._path(model, f"relearning/{self.task.policy.relearning.cap}/{_part_name(part)}")
        if path and (known := Measurement.load(path)):
            return known
        measured = Measurement()
        unseen = positions_of(self.samples.holdout.labels, part.classes)
        try:
            result = relearn(
                self.load(model),
                self.task.classifier,
                self.samples.erased.subset(part.positions),
                self.samples.retain,
                self.samples.holdout.subset(unseen),
                recipe=RelearningRecipe(cap=self.task.policy.relearning.cap),
                seed=self.task.seed,
                cancel=self.task.cancel,
            )
        except (NotComputable, NonFiniteLoss) as error:
            measured.missing[RELEARNING] = str(error)
            return measured
        measured.values = {
            RELEARNING: float(result.steps),
            CENSORED: float(result.censored),
        }
        measured.counts[RELEARNING] = len(unseen)
        measured.tensors["curve"] = torch.tensor(result.curve, dtype=torch.float64)
        if path:
            measured.save(path)
        return measured

    def control(self, name: str, part: Part) -> AuditedModel:
        """Return a copy of the original that forgot nothing, made by ``unlearning.controls``."""
        original = self.task.original
        masked = part.classes if part.scope == "class" else ()
        digest = None if original.digest is None else f"{original.digest}/{name}/{masked}"
        return AuditedModel(load=lambda: self._build_control(name, part), digest=digest)

    def _build_control(self, name: str, part: Part) -> nn.Module:
        problem = Problem(
            model=self.load(self.task.original),
            forget=self.samples.erased.subset(part.positions),
            retain=self.samples.retain,
            holdout=self.samples.holdout,
            classifier=self.task.classifier,
            num_classes=self.task.num_classes,
            seed=self.task.seed,
            device=self.task.device,
            cancel=self.task.cancel,
        )
        build: Callable[[Problem], nn.Module] = getattr(controls, name)
        return build(problem)

    def load(self, model: AuditedModel) -> nn.Module:
        """Load a model on the task's device, in eval mode."""
        return model.load().to(self.task.device).eval()

    def _path(self, model: AuditedModel, name: str) -> Path | None:
        task = self.task
        if task.cache_dir is None or task.data_digest is None or model.digest is None:
            return None
        key = [METRICS_VERSION, model.digest, task.data_digest, task.classifier, name]
        key += [str(task.policy.scale_floor), str(task.seed), str(task.num_classes)]
        digest = hashlib.sha256("\n".join(key).encode()).hexdigest()
        return task.cache_dir / "measurements" / f"{digest}.safetensors"


def _part_name(part: Part) -> str:
    positions = hashlib.sha256(part.positions.numpy().tobytes()).hexdigest()
    return f"{part.scope}/{positions}"
