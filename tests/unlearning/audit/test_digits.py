"""The audit on real data: what it must catch, and what it must let pass."""

from typing import TYPE_CHECKING

import pytest

from unlearning.audit import audit
from unlearning.audit.result import AuditResult

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

FORGOTTEN = 8


@pytest.fixture(scope="module")
def untouched(digits: "World") -> AuditResult:
    return audit(digits.task(digits.of_class(FORGOTTEN)))["request"]


@pytest.mark.slow
def test_an_untouched_model_and_its_disguises_fail(untouched: AuditResult) -> None:
    assert (untouched.verdict, untouched.worst.direction) == ("FAIL", "under-forgotten")
    names = {control.name for control in untouched.worst.self_controls}
    assert names == {"untouched", "head_masked", "head_refitted", "channels_rescaled"}
    assert all(control.rejected for control in untouched.worst.self_controls)
    assert all(control.influence.lower > 0.33 for control in untouched.worst.self_controls)


@pytest.mark.slow
def test_a_genuine_retrain_passes(digits: "World") -> None:
    erased = digits.of_class(FORGOTTEN)
    # A retrain is rejected once in twenty by design; of these three seeds none is.
    verdicts = [
        audit(digits.task(erased, digits.model(erased, seed)))["request"].verdict
        for seed in (1, 2, 3)
    ]
    assert verdicts == ["PASS"] * 3
