"""Turn measurements into the vectors that the tests compare."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unlearning.audit import relative
from unlearning.audit.joint import Array, JointTest, exact_test
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import CENSORED, RELEARNING, Policy
from unlearning.audit.result import Dropped


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The figures that an audit can compare, and those that it had to drop."""

    kept: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def computable(
    names: Sequence[str], original: Measurement, references: Sequence[Measurement]
) -> Gates:
    """Keep the figures that the original and every reference have; the candidate has no say."""
    kept, dropped = [], []
    for name in names:
        why = next((w for m in (original, *references) if (w := reason_missing(m, name))), None)
        if why is None:
            kept.append(name)
        else:
            dropped.append(Dropped(name=name, why=why))
    return Gates(kept=tuple(kept), dropped=tuple(dropped))


def gates_of(
    policy: Policy, scope: str, original: Measurement, references: Sequence[Measurement]
) -> Gates:
    """Return the policy's gates of a scope that can be compared.

    Relearning is dropped where too many references stopped at its cap: a band that is mostly the
    cap says how patient the audit was, not how long a retraining needs.
    """
    found = computable(policy.gates.of(scope), original, references)
    if RELEARNING not in found.kept or not references:
        return found
    capped = sum(reference.values[CENSORED] > 0 for reference in references)
    needed = policy.relearning.uncensored
    if len(references) - capped >= needed * len(references):
        return found
    why = (
        f"{capped} of {len(references)} references had not relearnt after "
        f"{policy.relearning.cap} steps, and {needed:.0%} must have"
    )
    kept = tuple(name for name in found.kept if name != RELEARNING)
    return Gates(kept=kept, dropped=(*found.dropped, Dropped(name=RELEARNING, why=why)))


def reason_missing(measured: Measurement, name: str) -> str | None:
    """Return why a measurement lacks a figure; None when it has it."""
    if measured.failure is not None:
        return measured.failure
    for source in relative.sources_of(name):
        if source not in measured.values and source not in measured.tensors:
            return measured.missing.get(source, "this version of the audit does not measure it")
    return None


def vector(names: Sequence[str], own: Measurement, others: Sequence[Measurement]) -> Array:
    """Return the model's figures [d]; relative ones are against the mean of ``others``."""
    return np.array([_figure(name, own, others) for name in names])


def matrix(names: Sequence[str], models: Sequence[Measurement]) -> Array:
    """Return each model's figures [n, d]; relative ones are against the *other* models."""
    return np.column_stack([_column(name, models) for name in names])


def compare_jointly(
    names: Sequence[str], candidate: Measurement, references: Sequence[Measurement]
) -> JointTest:
    """Test a candidate against references; each model is compared with all others alike."""
    pool = [*references, candidate]

    def view(index: int) -> tuple[Array, Array]:
        others = pool[:index] + pool[index + 1 :]
        return vector(names, pool[index], others), matrix(names, others)

    return exact_test(view, len(pool))


def _figure(name: str, own: Measurement, others: Sequence[Measurement]) -> float:
    if name in relative.RELATIVE:
        return relative.figure(name, own, others)
    return own.values[name]


def _column(name: str, models: Sequence[Measurement]) -> list[float]:
    if name in relative.RELATIVE:
        return relative.left_out(name, models)
    return [model.values[name] for model in models]
