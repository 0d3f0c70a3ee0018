"""Audit every suspect of one draw."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from unlearning.audit import AuditResult
from unlearning.calibration.draws import Draw
from unlearning.calibration.suspects import RETRAINED, SUSPECTS, Suspect
from unlearning.errors import UnlearningError


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the audit said of one suspect."""

    suspect: str
    number: int
    """Which original it was made from, or which retrain it is."""
    verdict: str
    influence: float | None
    lower: float | None
    upper: float | None
    rejected: bool | None
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        return {**asdict(self), "reasons": list(self.reasons)}


def run_draw(draw: Draw, suspects: tuple[Suspect, ...] = SUSPECTS) -> Iterator[Outcome]:
    """Yield the audit of every genuine retrain, then of every suspect of every original.

    Retrains are audited against the originals in turn. A suspect that cannot be made (a method
    that diverges) is skipped: there is nothing that its operator could hand in.
    """
    for number in range(draw.plan.retrained):
        original = number % draw.plan.originals
        yield _outcome(RETRAINED, number, draw.audit(draw.retrained(number), original))
    for original in range(draw.plan.originals):
        for suspect in suspects:
            if draw.plan.scope not in suspect.scopes:
                continue
            try:
                candidate = suspect.make(draw, original)
            except UnlearningError:
                continue
            yield _outcome(suspect.name, original, draw.audit(candidate, original))


def _outcome(suspect: str, number: int, result: AuditResult) -> Outcome:
    influence, test = result.influence, result.worst.joint_test
    return Outcome(
        suspect=suspect,
        number=number,
        verdict=result.verdict,
        influence=influence.value if influence else None,
        lower=influence.lower if influence else None,
        upper=influence.upper if influence else None,
        rejected=test.rejected if test else None,
        reasons=result.reasons,
    )
