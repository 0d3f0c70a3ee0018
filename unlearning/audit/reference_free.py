"""What a run can be checked for without retrained references: it can refute, never confirm.

Four questions (`audit.md` §3 of the project's papers): did more than the classifier change, did
the forgotten classes' features move, is the network as useful as before, are its outputs sound?
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch

from unlearning.audit import curves, table
from unlearning.audit.laboratory import Laboratory, Measured
from unlearning.audit.measure import SHARED, Part, split_parts
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.audit.result import AuditResult, Json, PartResult, Verdict
from unlearning.audit.task import AuditTask
from unlearning.audit.utility import RETAINED
from unlearning.audit.without_references import (
    Check,
    collateral,
    features_moved,
    head_share,
    sound_outputs,
    utility_checks,
    utility_entry,
)
from unlearning.errors import NotComputable
from unlearning.metrics.weight_change import head_fraction
from unlearning.progress import Progress

SILENT: Final = (
    "Nothing that can be checked without retrained references speaks against the candidate. That"
    " it forgot is not shown by this: only an audit with references, or a qualification of the"
    " method, could say more."
)


@dataclass(frozen=True, kw_only=True)
class ReferenceFreeResult:
    """An audit result without references, and the checks of each of its parts in their order."""

    audit: AuditResult
    checks: tuple[tuple[Check, ...], ...]

    @property
    def verdict(self) -> Verdict:
        """FAIL or INCONCLUSIVE."""
        return self.audit.verdict

    def to_json(self) -> Json:
        """Return the audit's JSON with `checks` in each part: {name, ok, detail}; ok may be null.

        `ok` is null where a check could not be made.
        """
        document = self.audit.to_json()
        for part, checks in zip(document["parts"], self.checks, strict=True):
            part["checks"] = [check.to_json() for check in checks]
        return document


def check_without_references(task: AuditTask) -> dict[str, ReferenceFreeResult]:
    """Check a candidate against its original alone; one result for every forget set.

    References of the task are not looked at. A check that speaks against the candidate makes FAIL;
    everything else is INCONCLUSIVE, for nothing here compares with a network that never saw the
    samples.

    Raises:
        Cancelled: the task's token was set.
        InvalidProblem: a model lacks the classifier, or it is not linear.
    """
    laboratory = Laboratory(task)
    parts = {
        key: split_parts(laboratory.samples, torch.tensor(positions))
        for key, positions in task.forget_sets.items()
    }
    named = {_name(key, part): part for key, mine in parts.items() for part in mine}
    original = laboratory.measure(task.original, named, intervals=True)
    task.progress(Progress("auditing", 1, 2, "original"))
    candidate = laboratory.measure(task.candidate, named, intervals=True)
    task.progress(Progress("auditing", 2, 2, "candidate"))
    share = _head_share(laboratory, task)
    return {
        key: _conclude(
            task,
            laboratory,
            _Pair(
                original=original,
                candidate=candidate,
                head=share,
                parts={_name(key, p): p for p in mine},
            ),
        )
        for key, mine in parts.items()
    }


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """What was measured of original and candidate for one forget set."""

    original: Measured
    candidate: Measured
    head: tuple[float | None, str | None]
    """The classifier's share of the weight change, or why it has none."""
    parts: Mapping[str, Part]


def _conclude(task: AuditTask, laboratory: Laboratory, pair: _Pair) -> ReferenceFreeResult:
    policy, samples = task.policy, laboratory.samples
    original, candidate = pair.original[SHARED], pair.candidate[SHARED]
    checks = {key: _checks(pair, key, policy) for key in pair.parts}
    forget = sum(len(part.positions) for part in pair.parts.values())
    scopes = [part.scope for part in pair.parts.values()]
    audit = AuditResult(
        scope=scopes[0] if len(scopes) == 1 else "mixed",
        parts=tuple(_part_result(pair, key, checks[key], policy) for key in pair.parts),
        policy={"name": policy.name, "version": policy.version, "digest": policy.digest()},
        look=task.look,
        num_references=0,
        counts={
            "forget": forget,
            "retain": len(samples.retain),
            "holdout": len(samples.holdout),
            "erased": len(samples.erased) - forget,
        },
        forgotten_classes=tuple(
            c for part in pair.parts.values() if part.scope == "class" for c in part.classes
        ),
        utility=utility_entry(original, candidate, policy),
        fidelity={},
        collateral=collateral(original, candidate),
        curves=_curves(pair),
    )
    return ReferenceFreeResult(audit=audit, checks=tuple(checks.values()))


def _checks(pair: _Pair, key: str, policy: Policy) -> tuple[Check, ...]:
    """Make the checks of one part; without a sound original only its own failure is told."""
    original, candidate = pair.original[SHARED], pair.candidate[SHARED]
    checks = [sound_outputs("original", original), sound_outputs("candidate", candidate)]
    if not checks[0].ok:
        return (replace(checks[0], ok=None),)
    checks.append(head_share(*pair.head))
    if checks[1].ok:
        if pair.parts[key].scope == "class":
            checks += features_moved(pair.original[key], pair.candidate[key])
        checks += utility_checks(original, candidate, policy)
    return tuple(checks[1:])


def _part_result(pair: _Pair, key: str, checks: tuple[Check, ...], policy: Policy) -> PartResult:
    failed = [check.detail for check in checks if check.ok is False]
    open_ones = [check.detail for check in checks if check.ok is None]
    compared = table.Compared(
        scope=pair.parts[key].scope,
        original=_joined(pair.original, key),
        candidate=_joined(pair.candidate, key),
        references=[],
    )
    share, why = pair.head
    row = table.plain_row(
        "weight_change.head_fraction",
        candidate=share,
        interval_note="counted over all weights, not estimated",
        note=why or "1 means that only the last layer changed, which hides and does not forget",
    )
    return PartResult(
        scope=pair.parts[key].scope,
        n=len(pair.parts[key].positions),
        verdict="FAIL" if failed else "INCONCLUSIVE",
        direction=None,
        reasons=tuple(failed or [*open_ones, SILENT]),
        metrics=(*table.rows(compared, policy), row),
    )


def _head_share(laboratory: Laboratory, task: AuditTask) -> tuple[float | None, str | None]:
    before, after = (laboratory.load(model) for model in (task.original, task.candidate))
    try:
        return head_fraction(before, after, task.classifier), None
    except NotComputable as error:
        return None, error.reason
    except ValueError as error:
        return None, str(error)


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


def _curves(pair: _Pair) -> Json:
    key = next(iter(pair.parts))
    models = {"original": pair.original[key], "candidate": pair.candidate[key]}
    sound = RETAINED in pair.candidate[SHARED].values
    return {
        "relearning": None,
        "spectra": curves.spectra(models),
        "projection": curves.projection(models) if sound else None,
    }


def _name(key: str, part: Part) -> str:
    return f"{key}/{part.scope}"
