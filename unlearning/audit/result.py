"""The outcome of an audit, with its JSON form for reports, pages and figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from unlearning.audit.influence import Influence
from unlearning.audit.joint import JointTest
from unlearning.audit.resolution import Resolution

if TYPE_CHECKING:
    from unlearning.audit.drift import Drift

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOTHING_TO_REMOVE"]
Direction = Literal["under-forgotten", "over-forgotten", "elsewhere"]
Json = dict[str, Any]
SEVERITY: Final[tuple[Verdict, ...]] = ("NOTHING_TO_REMOVE", "PASS", "INCONCLUSIVE", "FAIL")


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A gate that this audit could not compute, and why."""

    name: str
    why: str


@dataclass(frozen=True, kw_only=True)
class SelfControl:
    """A model that forgot nothing, scored as if it were the candidate.

    ``ok`` when it was rejected and the lower bound of its λ lies above the policy's limit.
    """

    name: str
    rejected: bool
    influence: Influence
    ok: bool

    def to_json(self) -> Json:
        """Return name, rejected, influence and ok."""
        return {
            "name": self.name,
            "rejected": self.rejected,
            "influence": self.influence.to_json(),
            "ok": self.ok,
        }


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What was found for the whole classes, or for the single samples, of a forget set."""

    scope: str
    n: int
    verdict: Verdict
    direction: Direction | None = None
    influence: Influence | None = None
    resolution: Resolution | None = None
    reasons: tuple[str, ...] = ()
    joint_test: JointTest | None = None
    gates: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    self_controls: tuple[SelfControl, ...] = ()
    metrics: tuple[Json, ...] = ()

    def to_json(self) -> Json:
        """Return the part's entry in ``parts``."""
        return {
            "scope": self.scope,
            "n": self.n,
            "verdict": self.verdict,
            "direction": self.direction,
            "influence": self.influence.to_json() if self.influence else None,
            "resolution": self.resolution.to_json() if self.resolution else None,
            "reasons": list(self.reasons),
            "joint_test": self._joint_test(),
            "self_controls": [control.to_json() for control in self.self_controls],
            "metrics": list(self.metrics),
        }

    def _joint_test(self) -> Json | None:
        if self.joint_test is None:
            return None
        return {
            "statistic": self.joint_test.statistic,
            "rank": self.joint_test.rank,
            "n": self.joint_test.n,
            "p_value": self.joint_test.p_value,
            "rejected": self.joint_test.rejected,
            "gates": list(self.gates),
            "dropped": [{"name": entry.name, "why": entry.why} for entry in self.dropped],
        }


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """The verdict on one forget set; the worst part decides, or all of E where that is worse.

    ``utility``, ``fidelity``, ``collateral`` and ``curves`` are in their JSON form already.
    """

    scope: str
    parts: tuple[PartResult, ...]
    policy: Json
    look: int
    num_references: int
    counts: Mapping[str, int]
    forgotten_classes: tuple[int, ...]
    utility: Json
    fidelity: Json
    collateral: tuple[Json, ...]
    drift: tuple["Drift", ...] = ()
    curves: Json = field(default_factory=dict)

    @property
    def worst(self) -> PartResult:
        """The part that decides: worst verdict first, then the largest upper bound of λ."""

        def badness(part: PartResult) -> tuple[int, float]:
            upper = part.influence.upper if part.influence else math.inf
            return SEVERITY.index(part.verdict), upper

        return max(self.parts, key=badness)

    @property
    def drifted(self) -> "Drift | None":
        """The part of E that decides because it is worse than every part of F; None otherwise."""
        graver = SEVERITY[SEVERITY.index(self.worst.verdict) + 1 :]
        for outcome in reversed(graver):
            for entry in self.drift:
                if entry.outcome == outcome:
                    return entry
        return None

    @property
    def verdict(self) -> Verdict:
        """PASS, FAIL, INCONCLUSIVE or NOTHING_TO_REMOVE."""
        if self.drifted is None:
            return self.worst.verdict
        return "FAIL" if self.drifted.outcome == "FAIL" else "INCONCLUSIVE"

    @property
    def direction(self) -> Direction | None:
        """Where a failed candidate stands: the worst part's, or under-forgotten on all of E."""
        if self.drifted is None:
            return self.worst.direction
        return "under-forgotten" if self.drifted.outcome == "FAIL" else None

    @property
    def influence(self) -> Influence | None:
        """The remaining influence λ of the worst part."""
        return self.worst.influence

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in plain sentences: what all of E shows where it decides, then the worst part's."""
        first = () if self.drifted is None else (self.drifted.reason,)
        return (*first, *self.worst.reasons)

    def to_json(self) -> Json:
        """Return plain JSON values; what is not a finite number becomes null."""
        worst = self.worst
        document = {
            "scope": self.scope,
            "verdict": self.verdict,
            "direction": self.direction,
            "influence": worst.influence.to_json() if worst.influence else None,
            "reasons": list(self.reasons),
            "policy": self.policy,
            "look": self.look,
            "num_references": self.num_references,
            "counts": dict(self.counts),
            "forgotten_classes": list(self.forgotten_classes),
            "parts": [part.to_json() for part in self.parts],
            "utility": self.utility,
            "fidelity": self.fidelity,
            "collateral": list(self.collateral),
            "drift": [entry.to_json() for entry in self.drift],
            "curves": self.curves,
        }
        plain: Json = _plain(document)
        return plain


def summary(values: Sequence[float]) -> Json | None:
    """Return mean, sd, n, min and max of the references' values; None without any."""
    if not len(values):
        return None
    array = np.asarray(values, dtype=np.float64)
    spread = float(array.std(ddof=1)) if len(array) > 1 else None
    return {
        "mean": float(array.mean()),
        "sd": spread,
        "n": len(array),
        "min": float(array.min()),
        "max": float(array.max()),
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON is a recursive union
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
