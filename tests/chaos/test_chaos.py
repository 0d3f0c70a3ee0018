"""A small round of chaos keeps every promise; without the fence the suite finds what breaks."""

from pathlib import Path

import pytest

from tests.chaos.faults import KINDS, PAUSES
from tests.chaos.suite import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMIT_S = 240.0


def test_faults_at_random_moments_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    outcome = run(tmp_path / "home", 12, 0, LIMIT_S)
    assert outcome.broken == [], outcome.table()
    assert set(outcome.faults) <= set(KINDS)


def test_without_the_fence_the_suite_finds_jobs_that_were_done_twice(tmp_path: Path) -> None:
    outcome = run(
        tmp_path / "home",
        6,
        0,
        LIMIT_S,
        kinds=(PAUSES[0],),
        worker_app="tests.chaos.unfenced:app",
        quiet_s=20,
    )
    found = " ".join(outcome.broken)
    assert "was completed by attempt" in found or "was completed twice" in found, outcome.table()
