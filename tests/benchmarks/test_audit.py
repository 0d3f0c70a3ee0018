"""The audit benchmark accounts for every second and proves that nothing is measured twice."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import audit, stopwatch
from benchmarks.stopwatch import OTHER, PASSES, Stopwatch, watching
from unlearning.metrics import moments, probe
from unlearning.networks import build_network


def test_phases_add_up_and_the_innermost_counts() -> None:
    watch = Stopwatch()
    start = time.perf_counter()
    with watch.within("outer"):
        time.sleep(0.02)
        with watch.within("inner"):
            time.sleep(0.04)
    seconds = watch.stop()
    assert sum(seconds.values()) <= time.perf_counter() - start
    assert seconds["inner"] >= 0.04
    assert seconds["outer"] >= 0.02
    assert seconds["outer"] < sum(seconds.values()) - seconds["inner"] + 1e-9
    assert watch.calls == {"outer": 1, "inner": 1}


def test_a_network_s_call_is_one_pass_and_a_probe_is_none() -> None:
    network = build_network("expunge:mlp", 4, in_features=36).eval()
    with watching() as watch, torch.no_grad():
        network(torch.zeros(2, 1, 6, 6))
        nn.Linear(3, 2)(torch.zeros(1, 3))
        probe.fit_probe(torch.randn(20, 3), torch.arange(20) % 2, 2)
        moments.Moments.of(torch.randn(20, 3))
    assert watch.calls == {PASSES: 1, "probe": 1, "moments_and_eigh": 1}


def test_the_library_is_as_before_afterwards() -> None:
    before = (nn.Module.__call__, probe.fit_probe, vars(moments.Moments)["of"])
    with watching():
        assert probe.fit_probe is not before[1]
    assert (nn.Module.__call__, probe.fit_probe, vars(moments.Moments)["of"]) == before


def test_every_phase_is_found_where_the_audit_looks_it_up() -> None:
    for functions in stopwatch.FUNCTIONS.values():
        for function in functions:
            assert stopwatch._holders(function)


def test_equal_seeds_make_equal_images_and_classes_can_be_told_apart() -> None:
    first, second = (audit.made_images(200, 1, "training set") for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert first.images.dtype == torch.uint8
    means = torch.stack([first.images[first.labels == c].float().mean(0) for c in range(10)])
    apart = torch.cdist(means.flatten(1), means.flatten(1))
    within = (first.images[first.labels == 0].float() - means[0]).flatten(1).norm(dim=1).mean()
    assert apart[0, 1:].min() > within / 3


def run_of(images: int, seed: int, share: float) -> dict[str, Any]:
    again = {"seconds": 0.1, "passes": 0}
    entry = {"images": images, "references": 7, "seed": seed, "share_outside": share}
    return {**entry, "seconds": 2.0, "phases": {PASSES: 1.0}, "again": again}


@pytest.mark.parametrize("note", [None, "a quiet machine"])
def test_small_runs_are_kept_when_the_full_one_is_cut(
    note: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "audit.json"
    output.write_text("an earlier result")

    def measured(images: int, _references: int, seed: int, _cap: int) -> dict[str, Any]:
        if seed == 0:
            raise KeyboardInterrupt
        return run_of(images, seed, 0.1 * seed)

    monkeypatch.setattr(audit, "measured", measured)
    arguments = audit.parse(["--output", str(output), *(["--note", note] if note else [])])
    with pytest.raises(KeyboardInterrupt):
        audit.run(arguments)
    report = json.loads((output.parent / "audit.partial.json").read_text())
    assert (report["full"], report["reached"]) == (None, False)
    assert [entry["seed"] for entry in report["small"]["runs"]] == [1, 2, 3]
    assert report["note"] == (note or audit.parse([]).note)
    assert len(report["load_average"]) == len(report["load_average_before"]) == 3
    assert output.read_text() == "an earlier result"


@pytest.mark.parametrize(("share", "reached"), [(0.3, True), (0.31, False)])
def test_the_full_run_alone_decides(
    share: float, reached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "measured", lambda n, _r, seed, _c: run_of(n, seed, share))
    report = audit.run(audit.parse(["--repeats", "1", "--output", str(tmp_path / "a.json")]))
    assert report == json.loads((tmp_path / "a.json").read_text())
    assert report["reached"] == reached
    assert report["full"]["images"] == 50_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.slow
def test_a_second_audit_runs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "audit.json"
    sizes = ["--images", "300", "--small-images", "200", "--references", "7", "--repeats", "2"]
    sizes += ["--relearning-cap", "10"]
    monkeypatch.setattr(audit, "CHANNELS", (4, 8, 8))
    monkeypatch.setattr(sys, "argv", ["audit", *sizes, "--output", str(output)])
    with pytest.raises(SystemExit) as ended:
        audit.main()
    report = json.loads(output.read_text())
    assert ended.value.code == (0 if report["reached"] else 1)
    full = report["full"]
    assert (full["images"], full["references"], full["again"]["passes"]) == (300, 7, 0)
    assert full["passes"] > 0
    assert {"extract", "k_means", "probe", "ncc", "joint_test", "intervals"} <= set(full["phases"])
    assert {"rmia", "relearning", "cache", "controls", OTHER} <= set(full["phases"])
    assert sum(full["phases"].values()) == pytest.approx(full["seconds"], abs=0.02)
    assert full["seconds"] == pytest.approx(full["clock_seconds"], rel=0.2)
    assert report["small"]["n"] == 2
    assert report["small"]["share_outside"]["sd"] is not None
