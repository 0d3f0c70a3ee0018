"""Drift: what remains of *all* erased samples, where a run's forget set is only some of them.

E is here the samples that the task calls erased: what a candidate is to be without, and nothing of
which it is only planned, suspended or withdrawn that it be erased. Whoever splits a class into
fifty small requests gives each audit too few samples to see anything; E has those of all that were
carried out. Rule, for each part of E (whole classes, single samples):

* The original is put to the joint test on E. Where it passes for a reference, E has no influence
  to look for, and the drift is *unresolved*: it never decides then.
* FAIL when the lower bound of the candidate's λ on E exceeds the policy's ``drift_limit``. A
  genuine retrain does so far more rarely than once in twenty: its λ would have to exceed the limit
  *and* the bound's reach.
* INCONCLUSIVE when the upper bound exceeds it, but only where E has power: the reach is at most
  half of the limit, so a genuine retrain is held up at most once in twenty.

The joint test of the candidate itself is made on F alone: a second one would reject genuine
retrains twice as often.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from unlearning.audit import wording
from unlearning.audit.gates import compare_jointly, computable, gates_of, matrix, vector
from unlearning.audit.influence import Influence, InfluenceScale
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.errors import NotComputable

Outcome = Literal["ok", "unresolved", "INCONCLUSIVE", "FAIL"]
_POWER: Final = 0.5
"""Largest reach of λ's bound, as a share of the limit, with which an upper bound may hold up."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """Measurements of one part of E: of the original, the candidate and the references."""

    scope: str
    n: int
    original: Measurement
    candidate: Measurement
    references: Sequence[Measurement]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """λ of the candidate on one part of E, and what follows; ``reason`` is a plain sentence."""

    scope: str
    n: int
    limit: float
    influence: Influence | None
    outcome: Outcome
    reason: str

    def to_json(self) -> dict[str, object]:
        """Return the entry in ``drift``."""
        return {
            "scope": self.scope,
            "n": self.n,
            "limit": self.limit,
            "influence": self.influence.to_json() if self.influence else None,
            "outcome": self.outcome,
            "reason": self.reason,
        }


def judge_drift(known: Known, policy: Policy) -> Drift:
    """Return what the rule above says of one part of E."""

    def result(outcome: Outcome, influence: Influence | None, reason: str) -> Drift:
        return Drift(
            scope=known.scope,
            n=known.n,
            limit=policy.drift_limit,
            influence=influence,
            outcome=outcome,
            reason=reason,
        )

    try:
        influence = _place(known, policy)
    except NotComputable as error:
        return result("unresolved", None, wording.drift_unresolved(known.n, error.reason))
    if not _original_is_noticed(known, policy):
        why = "the original itself passes for a retrained model on them"
        return result("unresolved", influence, wording.drift_unresolved(known.n, why))
    limit, reach = policy.drift_limit, influence.upper - influence.value
    if influence.lower > limit:
        return result("FAIL", influence, wording.drift_exceeded(known.n, influence, limit))
    if influence.upper <= limit:
        return result("ok", influence, wording.drift_kept(known.n, influence, limit))
    if reach > _POWER * limit:
        why = f"λ is known to ± {reach:.2f} only"
        return result("unresolved", influence, wording.drift_unresolved(known.n, why))
    return result("INCONCLUSIVE", influence, wording.drift_open(known.n, influence, limit))


def _place(known: Known, policy: Policy) -> Influence:
    if len(known.references) < policy.looks[0]:
        raise NotComputable("there are too few references")
    names = computable(policy.influence.of(known.scope), known.original, known.references).kept
    if not names:
        raise NotComputable("none of its figures could be computed")
    if computable(names, known.candidate, ()).dropped:
        raise NotComputable("the candidate could not be measured on them")
    scale = InfluenceScale.fit(
        matrix(names, known.references), vector(names, known.original, known.references)
    )
    return scale.place(vector(names, known.candidate, known.references), policy.confidence)


def _original_is_noticed(known: Known, policy: Policy) -> bool:
    references = known.references[: policy.looks[0]]
    names = gates_of(policy, known.scope, known.original, references).kept
    return bool(names) and compare_jointly(names, known.original, references).rejected
