"""The tables of methods count what was audited, on draws that nothing else uses."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from benchmarks import calibration, methods
from benchmarks.draw_log import complete, restore
from benchmarks.method_runs import BENCHES, Job, Place, described, make_draw, run_job
from benchmarks.method_tables import METHODS, TABLES, Row, tuned_rows
from benchmarks.method_words import markdown, markdown_away, summarise
from unlearning.audit import Policy
from unlearning.audit.measurement import METRICS_VERSION
from unlearning.calibration import DrawPlan
from unlearning.methods import METHODS as KNOWN


def _row(
    verdict: str, draw: int = 1, method: str = "muda", **figures: float | None
) -> dict[str, Any]:
    kept = {"dataset": "digits", "request": f"class {draw}", "scope": "class", "seed": 0}
    return {**kept, "method": method, "draw": draw, "verdict": verdict, "seconds": 0.5} | figures


def test_the_summary_counts_passes_and_spreads_over_draws_and_seeds() -> None:
    rows = [
        _row("PASS", influence=0.1),
        _row("FAIL", influence=0.3),
        _row("PASS", draw=2, influence=None),
    ]
    [summary] = summarise(rows)
    assert (summary["n"], summary["draws"], summary["pass"]) == (3, 2, 2)
    assert summary["verdicts"] == {"PASS": 2, "FAIL": 1}
    assert summary["influence"]["mean"] == pytest.approx(0.2)
    assert summary["influence"]["sd"] == pytest.approx(0.1414, abs=1e-4)


def test_a_class_passes_when_more_than_half_of_its_seeds_do() -> None:
    verdicts = {1: ["PASS", "PASS", "FAIL"], 2: ["PASS", "FAIL"], 3: ["FAIL"]}
    rows = [_row(verdict, draw=draw) for draw, each in verdicts.items() for verdict in each]
    assert summarise(rows)[0]["classes_passed"] == 1


def test_costs_are_read_against_retrainings_of_the_same_draw() -> None:
    rows = [
        _row("PASS", method="retrain", seconds=2.0),
        _row("PASS", method="retrain", draw=2, seconds=10.0),
        _row("PASS", seconds=1.0),
        _row("PASS", draw=2, seconds=1.0),
        _row("none", draw=2, seconds=None),
    ]
    summary = {row["method"]: row for row in summarise(rows)}
    assert summary["muda"]["retrain_ratio"]["mean"] == pytest.approx((0.5 + 0.1) / 2)


def test_relearning_is_read_against_the_references() -> None:
    rows = [_row("FAIL") | {"relearn": 20.0, "relearn.references": 80.0}]
    assert summarise(rows)[0]["relearn_ratio"] == {
        "mean": 0.25,
        "sd": None,
        "n": 1,
        "at_least": False,
    }


def test_relearning_that_had_not_ended_is_marked_and_counts_only_against_known_references() -> None:
    known = _row("FAIL") | {"relearn": 100.0, "relearn.references": 80.0, "relearn.censored": True}
    unknown = _row("FAIL") | {"relearn": 100.0, "relearn.censored": True}
    ended = _row("FAIL") | {"relearn": 60.0, "relearn.references": 80.0}
    [summary] = summarise([known, unknown, ended])
    assert (summary["relearn_ratio"]["n"], summary["relearn_ratio"]["at_least"]) == (2, True)
    assert "| ≥ 1.00 ± 0.35 (2) |" in markdown([summary], "one class")
    assert not summarise([unknown, ended])[0]["relearn_ratio"]["at_least"]


def test_distances_from_the_references_leave_out_what_no_row_has() -> None:
    rows = [_row("PASS") | {"da": 0.75, "da.references": 0.5}, _row("PASS")]
    lines = markdown_away(summarise(rows), "one class").splitlines()
    assert lines[0] == "| method | da |"
    assert lines[2] == "| muda | 0.25 ± 0.00 |"


def test_the_markdown_has_a_line_for_each_method_of_a_request() -> None:
    text = markdown(summarise([_row("PASS", influence=0.125), _row("FAIL")]), "one class")
    assert "| muda | 1 of 2 | 0.12 ± 0.00 |" in text
    assert len(text.splitlines()) == 3


def test_its_draws_are_not_those_of_the_calibration() -> None:
    kinds = methods.REQUESTS["digits"]
    ours = [plan.seed for plan in methods.plans("digits", list(range(10)), kinds)]
    assert len(set(ours)) == 13
    again = methods.plans("digits", list(range(10)), [], methods.CONFIRMATION_SEED)
    assert {plan.seed for plan in again}.isdisjoint(ours)
    assert set(ours).isdisjoint(plan.seed for plan in calibration.plans(calibration.DRAWS))


def test_cifar_is_read_from_parquet_for_a_small_network_and_a_resnet(tmp_path: Path) -> None:
    for part, labels in (("train", [0, 9, 5]), ("test", [3])):
        pictures = []
        for label in labels:
            file = io.BytesIO()
            Image.new("RGB", (32, 32), (20 * label, 0, 255)).save(file, "PNG")
            pictures.append(file.getvalue())
        table = pa.table({"label": labels, "image": pictures})
        pq.write_table(table, tmp_path / f"cifar10-{part}.parquet")
    for name in ("cifar10", "cifar10-resnet18"):
        bench = BENCHES[name](tmp_path)
        assert bench.name == name
        assert bench.images.labels.tolist() == [0, 9, 5, 3]
        assert bench.images.images[:, 0, 0, 0].tolist() == [0, 180, 100, 60]
        network = bench.build()
        assert network.get_submodule(bench.classifier).out_features == 10
        assert network(bench.images.batch(torch.arange(4))).shape == (4, 10)
    assert type(network).__name__ == "ResNet"


def test_on_a_gpu_one_process_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["methods", "--device", "cuda", "--bench", "cifar10-resnet18"]
    monkeypatch.setattr(sys, "argv", command)
    assert methods._parse().workers == 1
    monkeypatch.setattr(sys, "argv", command[:1])
    assert methods._parse().workers == 2


def test_whole_draws_outlive_a_lost_log(tmp_path: Path) -> None:
    place = Place(weights=tmp_path, seeds=2)
    whole, torn = methods.plans("digits", [0, 1], [])
    jobs = {
        plan: [Job(plan=plan, label="retrain", row=METHODS["retrain"])] for plan in (whole, torn)
    }
    rows = [
        _row("PASS", draw=draw, method="retrain") for draw in (whole.seed, whole.seed, torn.seed)
    ]
    report = {
        "policy": {"digest": Policy.standard().digest()},
        "metrics": METRICS_VERSION,
        "seeds": 2,
        "device": "cpu",
        "methods": {"retrain": described(METHODS["retrain"])},
        "rows": rows,
    }
    output = tmp_path / "methods.json"
    assert methods.kept_draws(output, jobs, place) == {}
    output.write_text(json.dumps(report))
    kept = methods.kept_draws(output, jobs, place)
    assert list(kept) == [whole]
    assert kept[whole][0]["rows"] == rows[:2]
    assert methods.kept_draws(output, jobs, replace(place, seeds=1)) == {}
    log = tmp_path / "methods.jsonl"
    for _ in range(2):
        restore(kept[whole], log, {"seeds": 2})
    assert len(log.read_text().splitlines()) == 1
    [entry] = complete(jobs[whole], _never, log, workers=1, identity={"seeds": 2})
    assert entry["rows"] == rows[:2]


def _never(job: Job) -> dict[str, Any]:
    raise AssertionError(job.label)


def test_every_row_names_a_method_with_all_its_hyperparameters() -> None:
    for table in TABLES.values():
        for row in table.values():
            if not row.name.startswith("control:"):
                assert described(row)["name"] in KNOWN
                assert described(row)["version"]
    plain = described(METHODS["muda, plain"])["hyperparameters"]
    assert (plain["beta"], plain["keep"], plain["restart_last_stage"]) == (0.0, 1.0, False)


def test_tuned_hyperparameters_become_rows(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    assert tuned_rows(path) == {}
    found = {"unsir": {"hyperparameters": {"repair_epochs": 2}}, "muda": {"hyperparameters": {}}}
    path.write_text(json.dumps(found))
    rows = tuned_rows(path)
    assert rows["unsir, tuned"].hyperparameters == {"repair_epochs": 2}
    assert rows["unsir, tuned"].scopes == ("class",)
    assert rows["muda, tuned"].scopes == ("class", "instance")


@pytest.mark.slow
def test_a_draw_audits_every_row(tmp_path: Path) -> None:
    place = Place(weights=tmp_path, seeds=1)
    plan = DrawPlan(bench="digits", scope="class", seed=5, originals=1, retrained=0, label=3)
    rows = {}
    for name in ("retrain", "finetune", "control:head_masked", "control:hidden_head"):
        [rows[name]] = run_job(Job(plan=plan, label=name, row=Row(name=name)), place)["rows"]
    assert rows["finetune"]["verdict"] == "FAIL"
    assert rows["finetune"]["influence"] > 0.5
    assert rows["control:head_masked"]["verdict"] == "FAIL"
    assert rows["control:hidden_head"]["verdict"] == "FAIL"
    assert {"gap", "probe", "relearn", "holdout", "stage.log_rho"} <= rows["retrain"].keys()
    assert {row["request"] for row in rows.values()} == {"class 3"}
    kept = {path.name for path in (tmp_path / "weights").iterdir()}
    assert len(kept) == 20
    assert make_draw(replace(plan), place).references
    assert {path.name for path in (tmp_path / "weights").iterdir()} == kept
