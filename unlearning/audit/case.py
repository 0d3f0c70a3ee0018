"""Conclude on one forget set from what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from unlearning.audit import curves, table
from unlearning.audit.drift import Known, judge_drift
from unlearning.audit.laboratory import Measured
from unlearning.audit.measure import SHARED, Part
from unlearning.audit.measurement import Measurement
from unlearning.audit.observation import Samples
from unlearning.audit.obstacles import obstacles_of
from unlearning.audit.policy import RELEARNING
from unlearning.audit.relearnt import row as relearning_row
from unlearning.audit.result import AuditResult, Json, PartResult
from unlearning.audit.task import AuditTask
from unlearning.audit.utility import check_fidelity, check_utility, collateral
from unlearning.audit.verdict import Evidence, judge


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The measurements of all models of a task, each by part key and ``SHARED``."""

    original: Measured
    candidate: Measured
    references: Sequence[Measured]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One forget set: its parts by key, and all that was found about them.

    ``controls`` are by part key, then by name. ``relearning`` holds original, candidate and then
    references, or nothing. ``erased`` are all of E's parts, nothing where the forget set is E.
    ``overlap`` counts the hold-out images that are byte for byte among the training images.
    """

    task: AuditTask
    samples: Samples
    parts: Mapping[str, Part]
    findings: Findings
    controls: Mapping[str, Mapping[str, Measurement]]
    relearning: Sequence[Measurement]
    head_row: Json
    erased: Sequence[Known]
    overlap: int


def conclude(case: Case) -> AuditResult:
    """Return the result on one forget set; its parts are judged one by one."""
    policy, parts = case.task.policy, list(case.parts.values())
    original, candidate = case.findings.original[SHARED], case.findings.candidate[SHARED]
    references = [entry[SHARED] for entry in case.findings.references]
    usable = [entry for entry in references if entry.failure is None]
    utility: Json = {"ok": False, "holdout_retained": None, "worst_class": None}
    fidelity: Json = {"ok": False, "retain": None, "holdout": None}
    if len(usable) > 1:
        utility = check_utility(original, candidate, usable, policy)
        fidelity = check_fidelity(original, usable, policy.fidelity_margin)
    scopes = [part.scope for part in parts]
    obstacles = {key: _obstacles(case, key) for key in case.parts}
    sound = fidelity["ok"] and not any(obstacles.values())
    return AuditResult(
        scope=scopes[0] if len(scopes) == 1 else "mixed",
        parts=tuple(
            _judge_part(case, key, utility, fidelity, obstacles[key]) for key in case.parts
        ),
        policy={"name": policy.name, "version": policy.version, "digest": policy.digest()},
        look=case.task.look,
        num_references=len(references),
        counts=_counts(case),
        forgotten_classes=tuple(
            label for part in parts if part.scope == "class" for label in part.classes
        ),
        utility=utility,
        fidelity=fidelity,
        collateral=collateral(original, candidate, usable) if usable else (),
        drift=tuple(judge_drift(known, policy) for known in case.erased) if sound else (),
        curves=_curves(case),
    )


def _judge_part(
    case: Case, key: str, utility: Json, fidelity: Json, obstacles: tuple[str, ...]
) -> PartResult:
    part, task, found = case.parts[key], case.task, case.findings
    references = [entry[key] for entry in found.references]
    looks = task.policy.looks
    evidence = Evidence(
        scope=part.scope,
        n=len(part.positions),
        policy=task.policy,
        original=found.original[key],
        candidate=found.candidate[key],
        references=references,
        controls=case.controls[key],
        utility=utility,
        fidelity=fidelity,
        obstacles=obstacles,
        erased=case.erased,
        next_look=looks[task.look] if task.look < len(looks) else None,
    )
    compared = table.Compared(
        scope=part.scope,
        original=_joined(found.original, key),
        candidate=_joined(found.candidate, key),
        references=[_joined(entry, key) for entry in found.references],
    )
    gated = RELEARNING in task.policy.gates.of(part.scope)
    relearnt = relearning_row(case.relearning, gated=gated) if part.scope == "class" else []
    rows = (*table.rows(compared, task.policy), *relearnt, case.head_row)
    return judge(evidence, rows)


def _joined(measured: Measured, key: str) -> Measurement:
    """Return a part's figures together with those on R and H."""
    part, shared = measured[key], measured[SHARED]
    return replace(
        part,
        values=shared.values | part.values,
        tensors=shared.tensors | part.tensors,
        counts=shared.counts | part.counts,
        intervals=shared.intervals | part.intervals,
        missing=shared.missing | part.missing,
    )


def _obstacles(case: Case, key: str) -> tuple[str, ...]:
    part, counts, found = case.parts[key], _counts(case), case.findings
    missing = [
        label
        for label in part.classes
        if part.scope == "class" and not (case.samples.holdout.labels == label).any()
    ]
    return obstacles_of(
        counts=counts,
        missing_classes=missing,
        original=found.original[SHARED],
        candidate=found.candidate[SHARED],
        references=[entry[SHARED] for entry in found.references],
        recalled=[entry[key] for entry in found.references] if part.scope == "class" else [],
    )


def _counts(case: Case) -> dict[str, int]:
    forget = sum(len(part.positions) for part in case.parts.values())
    return {
        "forget": forget,
        "retain": len(case.samples.retain),
        "holdout": len(case.samples.holdout),
        "erased": len(case.samples.erased) - forget,
        "overlap": case.overlap,
    }


def _curves(case: Case) -> Json:
    key = next(iter(case.parts))
    models = {"original": case.findings.original[key], "candidate": case.findings.candidate[key]}
    if case.findings.references:
        models["reference"] = case.findings.references[0][key]
    return {
        "relearning": curves.relearning(case.relearning),
        "attack": curves.attack(
            models["original"],
            models["candidate"],
            [reference[key] for reference in case.findings.references],
        ),
        "spectra": curves.spectra(models),
        "sweep": curves.sweep(models, len(case.samples.retained_classes)),
        "projection": curves.projection(models),
    }
