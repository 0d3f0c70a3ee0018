"""The calibration counts what its log says, continues it, and judges by its goals."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import calibration
from benchmarks.calibration_figure import draw_figure
from benchmarks.draw_log import complete
from benchmarks.letters import letters
from unlearning.audit import AuditResult
from unlearning.calibration import Bench, Draw, DrawPlan, Outcome, run_draw
from unlearning.calibration.suspects import RETRAINED, SUSPECTS
from unlearning.recipe import Recipe
from unlearning.testing import toy_images


def _entry(plan: DrawPlan, verdicts: dict[str, str], identity: dict[str, Any]) -> dict[str, Any]:
    outcomes = [{"suspect": name, "verdict": verdict} for name, verdict in verdicts.items()]
    return {**identity, "plan": plan.to_json(), "outcomes": outcomes, "seconds": 1.0}


def _never(plan: DrawPlan) -> dict[str, Any]:
    raise AssertionError(f"{plan} was run though the log has it")


def _made_up(plan: DrawPlan) -> dict[str, Any]:
    verdicts = {suspect.name: "FAIL" for suspect in SUSPECTS} | {RETRAINED: "PASS"}
    return _entry(plan, verdicts, calibration.Rule().identity())


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
    entries = complete(plans, _never, log, workers=1, identity=calibration.Rule().identity())
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


def test_each_rule_keeps_its_own_results_and_log_lines() -> None:
    rules = [calibration.Rule(name, look) for name in calibration.POLICIES for look in (1, 2)]
    names = ["calibration", "calibration-look2", "calibration-strict", "calibration-strict-look2"]
    assert [rule.output.name for rule in rules] == [f"{name}.json" for name in names]
    assert [calibration.POLICIES[rule.name] for rule in rules] == [rule.policy for rule in rules]
    identities = [json.dumps(rule.identity(), sort_keys=True) for rule in rules]
    assert len(set(identities)) == len(rules)


def test_the_kept_log_of_the_first_look_goes_on() -> None:
    kept = json.loads((calibration.RESULTS / "calibration.json").read_text())
    assert calibration.Rule().identity() == {
        "policy": kept["policy"]["digest"],
        "metrics": kept["metrics"],
    }


def _tiny() -> Bench:
    images = toy_images(96)
    recipe = Recipe(epochs=1, batch_size=32, peak_lr=0.05, shift=0)
    return Bench(
        name="digits",
        images=images,
        num_train=64,
        recipe=recipe,
        architecture="expunge:mlp",
        kwargs={"in_features": images.images[0].numel(), "hidden": [4]},
    )


@pytest.mark.parametrize(("name", "look"), [("standard/2", 2), ("strict/1", 1)])
def test_a_tiny_draw_is_audited_by_the_rule_that_was_asked_for(
    name: str, look: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[AuditResult] = []

    def few(draw: Draw) -> Iterator[Outcome]:
        seen.append(draw.audit(draw.retrained(0), 0))
        yield from run_draw(draw, SUSPECTS[:1])

    monkeypatch.setitem(calibration.BENCHES, "digits", _tiny)
    monkeypatch.setattr(calibration, "run_draw", few)
    rule = calibration.Rule(name, look)
    plan = DrawPlan(bench="digits", scope="class", seed=1, originals=1, retrained=1)
    entry = calibration.run_plan(plan, rule)
    assert [outcome["suspect"] for outcome in entry["outcomes"]] == [RETRAINED, "untouched"]
    [result] = seen
    assert (result.look, result.num_references) == (look, rule.policy.looks[look - 1])
    assert f"{result.policy['name']}/{result.policy['version']}" == name
    log = tmp_path / "log.jsonl"
    line = {**rule.identity(), "plan": plan.to_json(), **entry}
    log.write_text(json.dumps(line) + "\n")
    again = complete([plan], _never, log, workers=1, identity=rule.identity())
    assert again[0]["outcomes"] == entry["outcomes"]
    report = calibration._report(rule, again, calibration.tabulate(again), [], [])
    assert (report["look"], report["references"]) == (look, result.num_references)
