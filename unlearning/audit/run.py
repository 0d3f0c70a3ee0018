"""Run an audit: measure every model once, then decide for each forget set."""

from dataclasses import replace
from functools import cached_property
from typing import Final

import torch

from unlearning.audit import table, wording
from unlearning.audit.case import Case, Findings, conclude
from unlearning.audit.drift import Known
from unlearning.audit.laboratory import Laboratory, Measured
from unlearning.audit.measure import SHARED, Part, split_parts
from unlearning.audit.measurement import Measurement
from unlearning.audit.overlap import overlapping
from unlearning.audit.policy import RELEARNING
from unlearning.audit.relearnt import merged
from unlearning.audit.result import AuditResult, Json
from unlearning.audit.task import AuditedModel, AuditTask
from unlearning.errors import NotComputable
from unlearning.metrics.weight_change import head_fraction
from unlearning.progress import Progress

CONTROLS: Final = {
    "class": ("untouched", "head_masked", "head_refitted", "channels_rescaled"),
    "instance": ("untouched", "channels_rescaled"),
}
"""Models that forgot nothing, by scope; the first is the original itself."""
ALL: Final = "all of E"
"""The key of E among the forget sets; those of a service are UUIDs."""


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
        partial = any(len(found) < len(task.erased) for found in task.forget_sets.values())
        everything = torch.arange(len(task.erased))
        self.erased = split_parts(self.laboratory.samples, everything) if partial else []
        self.named |= {part_key(ALL, part): part for part in self.erased}
        self.done = 0

    def run(self) -> dict[str, AuditResult]:
        """Measure all models, then conclude for each forget set."""
        findings = Findings(
            original=self._measure(self.task.original, "original"),
            candidate=self._measure(self.task.candidate, "candidate", intervals=True),
            references=[
                self._measure(model, f"reference {number} of {len(self.references)}")
                for number, model in enumerate(self.references, start=1)
            ],
        )
        head_row = self._head_fraction()
        overlap = overlapping(self.task.holdout, self.task.retain, self.task.erased)
        return {
            key: self._conclude(key, parts, findings, head_row, overlap)
            for key, parts in self.parts.items()
        }

    def _conclude(
        self, key: str, parts: list[Part], findings: Findings, head_row: Json, overlap: int
    ) -> AuditResult:
        """Add what is measured for one forget set alone, then decide."""
        relearning = self._relearn(parts, findings)
        findings = self._with_relearning(key, findings, relearning)
        whole = len(self.task.forget_sets[key]) == len(self.task.erased)
        return conclude(
            Case(
                task=self.task,
                samples=self.laboratory.samples,
                parts={part_key(key, part): part for part in parts},
                findings=findings,
                controls={
                    part_key(key, part): self._controls(key, part, findings) for part in parts
                },
                relearning=relearning,
                head_row=head_row,
                erased=[] if whole else [self._known(part, findings) for part in self.erased],
                overlap=overlap,
            )
        )

    def _measure(self, model: AuditedModel, name: str, *, intervals: bool = False) -> Measured:
        measured = self.laboratory.measure(model, self.named, intervals=intervals)
        self._report(name)
        return measured

    @cached_property
    def _total(self) -> int:
        own = [part for parts in self.parts.values() for part in parts]
        controls = sum(len(CONTROLS[part.scope]) - 1 for part in own)
        return 2 + len(self.references) + controls

    def _report(self, detail: str) -> None:
        self.done += 1
        self.task.progress(Progress("auditing", self.done, self._total, detail))

    def _controls(self, key: str, part: Part, findings: Findings) -> dict[str, Measurement]:
        name = part_key(key, part)
        measured = {"untouched": findings.original[name]}
        if findings.original[name].failure is None:
            for control in CONTROLS[part.scope][1:]:
                copy = self.laboratory.control(control, part)
                measured[control] = self.laboratory.measure(copy, {name: part})[name]
                if part.scope == "class" and self._relearning_gates:
                    relearnt = self.laboratory.relearn(copy, part)
                    measured[control] = merged(measured[control], relearnt)
                self._report(wording.CONTROLS[control])
        return measured

    def _relearn(self, parts: list[Part], findings: Findings) -> list[Measurement]:
        """Relearn the forgotten classes from original, candidate and a few references."""
        whole = next((part for part in parts if part.scope == "class"), None)
        wanted = self.task.relearn or self._relearning_gates
        if whole is None or not wanted or not self.task.policy.relearning.cap:
            return []
        few = self.references[: self.task.policy.relearning.references]
        models = (self.task.original, self.task.candidate, *few)
        known = [findings.original, findings.candidate, *findings.references][: len(models)]
        return [
            # What gives no finite logit for each class can learn nothing either.
            Measurement(failure=found[SHARED].failure)
            if found[SHARED].failure
            else self.laboratory.relearn(model, whole)
            for model, found in zip(models, known, strict=True)
        ]

    @property
    def _relearning_gates(self) -> bool:
        return RELEARNING in self.task.policy.gates.class_

    def _with_relearning(
        self, key: str, findings: Findings, relearning: list[Measurement]
    ) -> Findings:
        """Put the steps among the figures of a forget set's classes, where the policy gates them.

        References beyond those that the policy has relearnt lack it; the joint test needs none.
        """
        if not relearning or not self._relearning_gates:
            return findings
        name = f"{key}/class"
        models = [findings.original, findings.candidate, *findings.references]
        count = len(relearning)
        extended = [
            {**model, name: merged(model[name], relearnt)}
            for model, relearnt in zip(models[:count], relearning, strict=True)
        ] + models[count:]
        return replace(
            findings, original=extended[0], candidate=extended[1], references=extended[2:]
        )

    def _known(self, part: Part, findings: Findings) -> Known:
        """Return what is known of one part of all of E."""
        name = part_key(ALL, part)
        return Known(
            scope=part.scope,
            n=len(part.positions),
            original=findings.original[name],
            candidate=findings.candidate[name],
            references=[entry[name] for entry in findings.references],
        )

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
