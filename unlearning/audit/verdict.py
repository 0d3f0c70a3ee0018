"""Decide one part of a forget set; the first rule that applies gives the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unlearning.audit import resolution, wording
from unlearning.audit.drift import Known
from unlearning.audit.gates import (
    Gates,
    compare_jointly,
    computable,
    gates_of,
    matrix,
    reason_missing,
    vector,
)
from unlearning.audit.influence import Influence, InfluenceScale
from unlearning.audit.joint import SD_FLOOR, JointTest
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.audit.resolution import Resolution
from unlearning.audit.result import Direction, Json, PartResult, SelfControl, Verdict
from unlearning.errors import NotComputable


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known about one part of a forget set.

    ``obstacles`` are sentences on data that cannot carry a verdict. ``erased`` are the measurements
    on all of E, part by part; nothing where the forget set is all of E.
    """

    scope: str
    n: int
    policy: Policy
    original: Measurement
    candidate: Measurement
    references: Sequence[Measurement]
    controls: Mapping[str, Measurement]
    utility: Json
    fidelity: Json
    obstacles: tuple[str, ...] = ()
    erased: Sequence[Known] = ()
    next_look: int | None = None

    @cached_property
    def gates(self) -> Gates:
        """The figures of the joint test."""
        return gates_of(self.policy, self.scope, self.original, self.first_look)

    @cached_property
    def first_look(self) -> Sequence[Measurement]:
        """The references of the joint test: those of the first look alone."""
        return self.references[: self.policy.looks[0]]

    @cached_property
    def scale(self) -> InfluenceScale:
        """The axis of remaining influence; NotComputable where there is none."""
        if not self.influence_names:
            raise NotComputable("no figure of the remaining influence could be computed")
        references = matrix(self.influence_names, self.references)
        return InfluenceScale.fit(
            references, vector(self.influence_names, self.original, self.references)
        )

    @cached_property
    def influence_names(self) -> tuple[str, ...]:
        """The figures of the remaining influence that could be computed."""
        names = self.policy.influence.of(self.scope)
        return computable(names, self.original, self.references).kept

    def test(self, model: Measurement) -> JointTest | None:
        """Test a model; None when it or too few references could be measured."""
        if not self.testable or any(reason_missing(model, name) for name in self.gates.kept):
            return None
        return compare_jointly(self.gates.kept, model, self.first_look)

    def place(self, model: Measurement) -> Influence | None:
        """Return λ of a model; None where it cannot be computed."""
        if not self.testable or any(reason_missing(model, name) for name in self.influence_names):
            return None
        try:
            figures = vector(self.influence_names, model, self.references)
            return self.scale.place(figures, self.policy.confidence)
        except NotComputable:
            return None

    @cached_property
    def testable(self) -> bool:
        """Whether there are enough references and figures for a joint test."""
        wanted = len(self.policy.gates.of(self.scope))
        enough = len(self.references) >= self.policy.looks[0]
        return enough and 2 * len(self.gates.kept) >= wanted

    @cached_property
    def resolution(self) -> Resolution:
        """The smallest influence that this audit could have seen, whoever the candidate is."""
        limit = self.policy.limit
        if not self.testable:
            return Resolution(bounded=None, rejected=None, limit=limit)
        names, references = self.gates.kept, self.first_look
        original = vector(names, self.original, references)
        rejected = resolution.rejected(original, matrix(names, references))
        try:
            bounded = resolution.bounded(self.scale, self.policy.confidence)
        except NotComputable:
            bounded = None
        return Resolution(bounded=bounded, rejected=rejected, limit=limit)


def judge(evidence: Evidence, metrics: tuple[Json, ...] = ()) -> PartResult:
    """Return the verdict on one part, with everything that it rests on."""
    test = evidence.test(evidence.candidate)
    influence = evidence.place(evidence.candidate)
    controls = _score_controls(evidence)
    verdict, reasons = _decide(evidence, test, influence, controls)
    return PartResult(
        scope=evidence.scope,
        n=evidence.n,
        verdict=verdict,
        direction=_direction(test, influence) if verdict == "FAIL" else None,
        influence=influence,
        resolution=evidence.resolution,
        reasons=tuple(reasons),
        joint_test=test,
        gates=evidence.gates.kept,
        dropped=evidence.gates.dropped,
        self_controls=controls,
        metrics=metrics,
    )


def _decide(
    evidence: Evidence,
    test: JointTest | None,
    influence: Influence | None,
    controls: tuple[SelfControl, ...],
) -> tuple[Verdict, list[str]]:
    if reasons := _missing_ground(evidence):
        return "INCONCLUSIVE", reasons
    if _nothing_to_remove(evidence):
        return "NOTHING_TO_REMOVE", [wording.nothing_to_remove(len(evidence.first_look))]
    if reasons := _powerless(evidence, controls):
        return "INCONCLUSIVE", [*reasons, *_resolution(evidence)]
    return _decide_candidate(evidence, test, influence)


def _decide_candidate(
    evidence: Evidence, test: JointTest | None, influence: Influence | None
) -> tuple[Verdict, list[str]]:
    """Decide in an audit that has power: utility and the joint test, then the bound on λ."""
    reasons = wording.utility(evidence.utility)
    if test is not None and test.rejected:
        reasons.append(wording.rejected(test, influence, _most_deviating(evidence)))
    if reasons:
        return "FAIL", reasons
    if test is None or influence is None:
        return "INCONCLUSIVE", [wording.candidate_not_measured(_why_not_measured(evidence))]
    if influence.upper > evidence.policy.limit:
        look = evidence.next_look
        reason = wording.too_wide(influence, evidence.policy.limit, look)
        return "INCONCLUSIVE", [reason, *_resolution(evidence)]
    return "PASS", [wording.passed(test, influence)]


def _resolution(evidence: Evidence) -> list[str]:
    return [wording.resolution(evidence.resolution, evidence.n, len(evidence.references))]


def _missing_ground(evidence: Evidence) -> list[str]:
    """Return why no verdict is possible on this data, if so."""
    reasons = list(evidence.obstacles)
    found, needed = len(evidence.references), evidence.policy.looks[0]
    if found < needed:
        reasons.append(wording.too_few_references(found, needed))
    elif not evidence.testable:
        reasons.append(wording.too_few_figures(evidence.gates.dropped))
    return reasons


def _nothing_to_remove(evidence: Evidence) -> bool:
    """Tell whether the original itself passes for a reference, on F and on all of E."""
    own = (evidence.scope, evidence.original, evidence.first_look)
    if not _passes_for_reference(evidence.policy, *own):
        return False
    first = evidence.policy.looks[0]
    return all(
        _passes_for_reference(
            evidence.policy, known.scope, known.original, known.references[:first]
        )
        for known in evidence.erased
    )


def _passes_for_reference(
    policy: Policy, scope: str, original: Measurement, references: Sequence[Measurement]
) -> bool:
    names = gates_of(policy, scope, original, references).kept
    if 2 * len(names) < len(policy.gates.of(scope)):
        return False
    # The far cheaper of the two conditions first.
    within = np.abs(_deviations(names, original, references)) <= 1
    return bool(within.all()) and not compare_jointly(names, original, references).rejected


def _deviations(
    names: tuple[str, ...], model: Measurement, references: Sequence[Measurement]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    theirs = matrix(names, references)
    spread = np.maximum(theirs.std(axis=0, ddof=1), SD_FLOOR)
    deviations: np.ndarray[tuple[int], np.dtype[np.float64]]
    deviations = (vector(names, model, references) - theirs.mean(axis=0)) / spread
    return deviations


def _score_controls(evidence: Evidence) -> tuple[SelfControl, ...]:
    scored = []
    for name, measured in evidence.controls.items():
        test, influence = evidence.test(measured), evidence.place(measured)
        if test is None or influence is None:
            continue
        ok = test.rejected and influence.lower > evidence.policy.limit
        scored.append(SelfControl(name=name, rejected=test.rejected, influence=influence, ok=ok))
    return tuple(scored)


def _powerless(evidence: Evidence, controls: tuple[SelfControl, ...]) -> list[str]:
    """Return why this audit could not tell a model that forgot nothing, if so."""
    reasons = wording.fidelity(evidence.fidelity)
    try:
        evidence.scale  # noqa: B018 - computed here to learn why it cannot be
    except NotComputable as error:
        return [*reasons, wording.no_influence_axis(error.reason)]
    unscored = set(evidence.controls) - {control.name for control in controls}
    missed = [control for control in controls if not control.ok]
    if missed or unscored:
        reasons.append(wording.self_control(missed, sorted(unscored), evidence.next_look))
    return reasons


def _direction(test: JointTest | None, influence: Influence | None) -> Direction:
    """Return where a rejected candidate stands, if its λ is surely not zero."""
    if test is None or influence is None or not test.rejected:
        return "elsewhere"
    if influence.lower > 0:
        return "under-forgotten"
    return "over-forgotten" if influence.upper < 0 else "elsewhere"


def _most_deviating(evidence: Evidence) -> str:
    names = evidence.gates.kept
    deviations = _deviations(names, evidence.candidate, evidence.first_look)
    return names[int(np.abs(deviations).argmax())]


def _why_not_measured(evidence: Evidence) -> str:
    names = (*evidence.gates.kept, *evidence.influence_names)
    reasons = (reason_missing(evidence.candidate, name) for name in names)
    return next((reason for reason in reasons if reason), "its figures are undefined")
