"""The calibration counts what its log says, continues it, and judges by its goals."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import calibration
from benchmarks.calibration_figure import draw_figure
from benchmarks.draw_log import complete
from benchmarks.letters import letters
from unlearning.calibration import DrawPlan
from unlearning.calibration.suspects import RETRAINED, SUSPECTS


def _entry(plan: DrawPlan, verdicts: dict[str, str], identity: dict[str, Any]) -> dict[str, Any]:
    outcomes = [{"suspect": name, "verdict": verdict} for name, verdict in verdicts.items()]
    return {**identity, "plan": plan.to_json(), "outcomes": outcomes, "seconds": 1.0}


def _never(plan: DrawPlan) -> dict[str, Any]:
    raise AssertionError(f"{plan} was run though the log has it")


def _made_up(plan: DrawPlan) -> dict[str, Any]:
    verdicts = {suspect.name: "FAIL" for suspect in SUSPECTS} | {RETRAINED: "PASS"}
    return _entry(plan, verdicts, calibration.identity())


def test_the_stated_subset_is_large_enough_for_its_goals() -> None:
    plans = calibration.plans(calibration.DRAWS)
    assert len(plans) == len(set(plans)) >= 20
    assert sum(plan.retrained for plan in plans) >= calibration.FEWEST_RETRAINS
    for suspect in SUSPECTS:
        n = sum(plan.originals for plan in plans if suspect.must_fail(plan.scope))
        if suspect.scopes == ("class",):
            n = sum(plan.originals for plan in plans if plan.scope == "class")
        assert n >= calibration.FEWEST_IMPOSTORS


def test_a_log_is_continued_and_lines_of_another_policy_are_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "calibration.jsonl"
    plans = calibration.plans({"class": 2, "instance": 1})
    stale = _entry(plans[0], {"untouched": "PASS"}, {"policy": "older", "metrics": "1"})
    lines = [stale, *(_made_up(plan) for plan in plans)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    entries = complete(plans, _never, log, workers=1, identity=calibration.identity())
    assert [entry["plan"] for entry in entries] == [plan.to_json() for plan in plans]
    assert all(entry["policy"] != "older" for entry in entries)


def test_goals_are_missed_by_one_impostor_that_passes() -> None:
    entries = [_made_up(plan) for plan in calibration.plans(calibration.DRAWS) for _ in range(8)]
    rows = calibration.tabulate(entries)
    assert calibration.missed_goals(rows, calibration.gated_rows(rows)) == []
    spoilt = json.loads(json.dumps(entries))
    next(o for o in spoilt[0]["outcomes"] if o["suspect"] == "untouched")["verdict"] = "PASS"
    rows = calibration.tabulate(spoilt)
    [missed] = calibration.missed_goals(rows, calibration.gated_rows(rows))
    assert missed.startswith("untouched PASSed 1 of ")


def test_goals_are_missed_by_retrains_that_fail_too_often() -> None:
    entries = [_made_up(plan) for plan in calibration.plans(calibration.DRAWS) for _ in range(8)]
    for entry in entries[::3]:
        entry["outcomes"][-1]["verdict"] = "FAIL"
        assert entry["outcomes"][-1]["suspect"] == RETRAINED
    rows = calibration.tabulate(entries)
    missed = calibration.missed_goals(rows, calibration.gated_rows(rows))
    assert [sentence.split(" in ")[0] for sentence in missed] == [
        "genuine retrains FAIL",
        "genuine retrains PASS",
    ]


def test_equal_counts_draw_equal_figures(tmp_path: Path) -> None:
    rows = calibration.tabulate(_made_up(plan) for plan in calibration.plans({"class": 1}))
    draw_figure(rows, tmp_path / "a.svg")
    draw_figure(rows, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "retrained" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("seed", [0, 1])
def test_letters_are_the_same_everywhere_and_split_anew_by_seed(seed: int) -> None:
    first, second = letters(), letters()
    assert (first.images.images == second.images.images).all()
    train, holdout = first.split(seed)
    assert (len(train), len(holdout)) == (first.num_train, len(first.images) - first.num_train)
    assert set(train.labels.tolist()) == set(range(10))
