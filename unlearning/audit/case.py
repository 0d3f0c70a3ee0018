"""Conclude on one forget set from what was measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from unlearning.audit import curves, table, wording
from unlearning.audit.laboratory import Measured
from unlearning.audit.measure import SHARED, Part
from unlearning.audit.measurement import Measurement
from unlearning.audit.observation import Samples
from unlearning.audit.result import AuditResult, Json, PartResult, summary
from unlearning.audit.task import AuditTask
from unlearning.audit.utility import check_fidelity, check_utility, collateral
from unlearning.audit.verdict import Evidence, Known, judge


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
    references, or nothing. ``erased`` measures all of E, if it is called.
    """

    task: AuditTask
    samples: Samples
    parts: Mapping[str, Part]
    findings: Findings
    controls: Mapping[str, Mapping[str, Measurement]]
    relearning: Sequence[Measurement]
    head_row: Json
    erased: Callable[[], Iterable[Known]]


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
    return AuditResult(
        scope=scopes[0] if len(scopes) == 1 else "mixed",
        parts=tuple(_judge_part(case, key, utility, fidelity) for key in case.parts),
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
        curves=_curves(case),
    )


def _judge_part(case: Case, key: str, utility: Json, fidelity: Json) -> PartResult:
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
        obstacles=tuple(_obstacles(case, key)),
        erased=case.erased,
        next_look=looks[task.look] if task.look < len(looks) else None,
    )
    compared = table.Compared(
        scope=part.scope,
        original=_joined(found.original, key),
        candidate=_joined(found.candidate, key),
        references=[_joined(entry, key) for entry in found.references],
    )
    relearnt = _relearning_row(case.relearning) if part.scope == "class" else []
    return judge(evidence, (*table.rows(compared, task.policy), *relearnt, case.head_row))


def _joined(measured: Measured, key: str) -> Measurement:
    """Return a part's figures together with those on R and H."""
    part, shared = measured[key], measured[SHARED]
    return replace(
        part,
        values=shared.values | part.values,
        counts=shared.counts | part.counts,
        intervals=shared.intervals | part.intervals,
        missing=shared.missing | part.missing,
    )


def _obstacles(case: Case, key: str) -> list[str]:
    """Return what about data and models cannot carry a verdict, whatever the candidate is."""
    part, reasons = case.parts[key], []
    retained = len(case.samples.retain)
    forget = _counts(case)["forget"]
    if forget > retained:
        reasons.append(wording.larger_than_retain(forget, retained))
    present = set(case.samples.holdout.labels.tolist())
    missing = [label for label in part.classes if label not in present]
    if part.scope == "class" and missing:
        reasons.append(wording.missing_from_holdout(missing))
    if why := _failure(case.findings.original):
        reasons.append(wording.unmeasurable("The original", why))
    for number, measured in enumerate(case.findings.references, start=1):
        if why := _failure(measured):
            reasons.append(wording.unmeasurable(f"Reference {number}", why))
    return reasons


def _failure(measured: Measured) -> str | None:
    shared = measured[SHARED]
    if shared.failure is None and shared.values.get("constant"):
        return "it gives the same outputs for every image"
    return shared.failure


def _counts(case: Case) -> dict[str, int]:
    forget = sum(len(part.positions) for part in case.parts.values())
    return {
        "forget": forget,
        "retain": len(case.samples.retain),
        "holdout": len(case.samples.holdout),
        "erased": len(case.samples.erased) - forget,
    }


def _curves(case: Case) -> Json:
    key = next(iter(case.parts))
    models = {"original": case.findings.original[key], "candidate": case.findings.candidate[key]}
    if case.findings.references:
        models["reference"] = case.findings.references[0][key]
    return {
        "relearning": curves.relearning(case.relearning),
        "spectra": curves.spectra(models),
        "projection": curves.projection(models),
    }


def _relearning_row(relearning: Sequence[Measurement]) -> list[Json]:
    name = "relearn.steps"
    if not relearning or any(name not in entry.values for entry in relearning):
        return []
    original, candidate, *references = relearning
    censored = [entry for entry in relearning if entry.values["censored"]]
    cap = f"; {len(censored)} of {len(relearning)} models reached the cap" if censored else ""
    return [
        table.plain_row(
            name,
            n=candidate.counts[name],
            original=original.values[name],
            candidate=candidate.values[name],
            references=summary([entry.values[name] for entry in references]),
            interval_note="one experiment for each model",
            note=f"far fewer steps than the references need means hidden, not gone{cap}",
        )
    ]
