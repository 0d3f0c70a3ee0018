"""Requests in a row never overlap, a retraining cuts their chain, and a log is continued."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import drift
from benchmarks.drift_figure import draw_figure
from benchmarks.succession import EVERY, SMALL, Succession
from unlearning.audit import Policy


def test_ten_requests_mix_small_ones_and_whole_classes_and_share_no_sample() -> None:
    plan = Succession(steps=10, references=19)
    train = plan.split[0]
    for step, asked in enumerate(plan.requests, start=1):
        kept = set(plan.retain(step).labels.tolist())
        labels = set(train.labels[asked].tolist())
        assert bool(labels & kept) == (step % EVERY != 0)
        if step % EVERY:
            assert len(asked) == SMALL
    everything = plan.erased(10)
    assert len(everything) == len(set(everything.tolist())) == sum(map(len, plan.requests))
    assert len(plan.retain(10)) == len(train) - len(everything)


def test_fewer_steps_are_the_first_of_many() -> None:
    few, many = (Succession(steps=steps, references=19).requests for steps in (3, 10))
    assert all((a == b).all() for a, b in zip(few, many, strict=False))


def _row(step: int, value: float | None, method: str = "muda") -> dict[str, Any]:
    influence = value and {"value": value, "lower": value - 0.1, "upper": value + 0.1}
    return {"step": step, "method": method, "drift": {"influence": influence}}


def test_the_figure_shows_every_step_whose_drift_is_known(tmp_path: Path) -> None:
    rows = [_row(1, 0.2), _row(2, None), _row(3, 0.1, "retrain")]
    for name in ("a", "b"):
        draw_figure({"rows": rows, "drift_limit": 0.5}, tmp_path / f"{name}.svg")
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert b"limit 0.5" in drawn


@pytest.mark.slow
def test_after_the_policy_s_chain_a_step_retrains_and_a_log_is_continued(tmp_path: Path) -> None:
    """One approximate run is allowed here, so one of the first two steps is a retraining."""
    policy = Policy.from_dict({**Policy.standard().to_dict(), "max_approximate_chain": 1})
    log = tmp_path / "drift.jsonl"
    [first] = drift.complete(Succession(steps=1, references=3), log, 1, policy)
    again, second = drift.complete(Succession(steps=2, references=3), log, 1, policy)
    assert again == first
    assert len(log.read_text().splitlines()) == 2
    assert {first["method"], second["method"]} & {"retrain"}
    assert second["forced"] == (first["chain"] == 1)
    if second["forced"]:
        assert [entry["method"] for entry in second["tries"]] == ["retrain"]
    assert [row["erased"] for row in (first, second)] == [20, 40]
    assert json.loads(json.dumps(second))["drift"]["parts"].keys() == {"instance"}
