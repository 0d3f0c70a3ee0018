"""Run an audit: measure every model once, then decide for each forget set."""

from collections.abc import Iterator
from functools import cached_property
from typing import Final

import torch

from unlearning.audit import table, wording
from unlearning.audit.case import Case, Findings, conclude
from unlearning.audit.laboratory import Laboratory, Measured
from unlearning.audit.measure import Part, split_parts
from unlearning.audit.measurement import Measurement
from unlearning.audit.result import AuditResult, Json
from unlearning.audit.task import AuditedModel, AuditTask
from unlearning.audit.verdict import Known
from unlearning.errors import NotComputable
from unlearning.metrics.weight_change import head_fraction
from unlearning.progress import Progress

CONTROLS: Final = {
    "class": ("untouched", "head_masked", "head_refitted", "channels_rescaled"),
    "instance": ("untouched", "channels_rescaled"),
}
"""Models that forgot nothing, by scope; the first is the original itself."""


def audit(task: AuditTask) -> dict[str, AuditResult]:
    """Return one result for every key of ``task.forget_sets``; ``to_json()`` is the report's form.

    Models are loaded one at a time, in the order original, candidate, references, controls, and
    never changed. References beyond the policy's look are not used. What cannot be measured makes
    a verdict INCONCLUSIVE or FAIL, with the reason, never PASS.

    Raises:
        Cancelled: the task's token was set.
        InvalidProblem: a model lacks the classifier, or it is not linear.
    """
    return _Audit(task).run()


class _Audit:
    """Measures what the forget sets of one task have in common, then their parts."""

    def __init__(self, task: AuditTask) -> None:
        self.task = task
        self.laboratory = Laboratory(task)
        self.references = task.references[: task.policy.looks[task.look - 1]]
        self.parts = {
            key: split_parts(self.laboratory.samples, torch.tensor(positions))
            for key, positions in task.forget_sets.items()
        }
        self.named = {
            part_key(key, part): part for key, parts in self.parts.items() for part in parts
        }
        self.done = 0

    def run(self) -> dict[str, AuditResult]:
        """Measure all models, then conclude for each forget set."""
        findings = Findings(
            original=self._measure(self.task.original, "original"),
            candidate=self._measure(self.task.candidate, "candidate"),
            references=[
                self._measure(model, f"reference {number} of {len(self.references)}")
                for number, model in enumerate(self.references, start=1)
            ],
        )
        head_row = self._head_fraction()
        return {
            key: conclude(
                Case(
                    task=self.task,
                    samples=self.laboratory.samples,
                    parts={part_key(key, part): part for part in parts},
                    findings=findings,
                    controls={
                        part_key(key, part): self._controls(key, part, findings) for part in parts
                    },
                    relearning=self._relearn(parts),
                    head_row=head_row,
                    erased=lambda key=key: self._everything(key),  # type: ignore[misc]
                )
            )
            for key, parts in self.parts.items()
        }

    def _measure(self, model: AuditedModel, name: str) -> Measured:
        measured = self.laboratory.measure(model, self.named)
        self._report(name)
        return measured

    @cached_property
    def _total(self) -> int:
        controls = sum(len(CONTROLS[part.scope]) - 1 for part in self.named.values())
        return 2 + len(self.references) + controls

    def _report(self, detail: str) -> None:
        self.done += 1
        self.task.progress(Progress("auditing", self.done, self._total, detail))

    def _controls(self, key: str, part: Part, findings: Findings) -> dict[str, Measurement]:
        name = part_key(key, part)
        measured = {"untouched": findings.original[name]}
        if findings.original[name].failure is None:
            for control in CONTROLS[part.scope][1:]:
                measured[control] = self.laboratory.measure_control(control, name, part)
                self._report(wording.CONTROLS[control])
        return measured

    def _relearn(self, parts: list[Part]) -> list[Measurement]:
        """Relearn the forgotten classes from original, candidate and a few references."""
        whole = next((part for part in parts if part.scope == "class"), None)
        if whole is None or not self.task.policy.relearning.cap:
            return []
        few = self.references[: self.task.policy.relearning.references]
        models = (self.task.original, self.task.candidate, *few)
        return [self.laboratory.relearn(model, whole) for model in models]

    def _everything(self, key: str) -> Iterator[Known]:
        """Measure original and references on all of E; nothing where the forget set is that."""
        if len(self.task.forget_sets[key]) == len(self.task.erased):
            return
        parts = split_parts(self.laboratory.samples, torch.arange(len(self.task.erased)))
        named = {f"all of E/{part.scope}": part for part in parts}
        original = self.laboratory.measure(self.task.original, named)
        references = [self.laboratory.measure(model, named) for model in self.references]
        for name, part in named.items():
            yield part.scope, original[name], [entry[name] for entry in references]

    def _head_fraction(self) -> Json:
        """Return the row on where the weights changed; 1 means only the last layer did."""
        before, after = (self.laboratory.load(m) for m in (self.task.original, self.task.candidate))
        share, why = None, None
        try:
            share = head_fraction(before, after, self.task.classifier)
        except (NotComputable, ValueError) as error:
            why = str(error)
        return table.plain_row(
            "weight_change.head_fraction",
            candidate=share,
            interval_note="counted over all weights, not estimated",
            note=why or "1 means that only the last layer changed, which hides and does not forget",
        )


def part_key(key: str, part: Part) -> str:
    """Return the name of a forget set's part among the measurements."""
    return f"{key}/{part.scope}"
