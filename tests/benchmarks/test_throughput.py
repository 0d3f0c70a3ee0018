"""The throughput benchmark compares loops that do the same work, and judges by the stated goal."""

import copy
import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import loops, throughput
from benchmarks.audit import made_images
from unlearning.networks import build_network
from unlearning.randomness import seeded
from unlearning.recipe import Recipe

SMALL = (
    throughput.Case(
        "expunge:small_cnn",
        {"in_channels": 3, "channels": (4, 8)},
        {"cpu": 40},
        {"cpu": 16},
    ),
)


@pytest.mark.parametrize("flip", [False, True])
def test_the_bare_loop_arrives_at_our_weights(flip: bool) -> None:
    images = made_images(48, 0, "test")
    recipe = Recipe(epochs=2, batch_size=16, peak_lr=0.02, shift=2, flip=flip)
    with seeded(0):
        start = build_network("expunge:small_cnn", 10, in_channels=3, channels=(4, 8))
    trained = []
    for loop in (loops.ours, loops.bare):
        trained.append(copy.deepcopy(start))
        loop(trained[-1], images, recipe, 3)
    before, (mine, other) = start.state_dict(), (model.state_dict() for model in trained)
    assert not torch.allclose(before["head.weight"], mine["head.weight"], rtol=0, atol=1e-3)
    for name, value in mine.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_dataloader_loop_takes_as_many_steps(workers: int) -> None:
    images = made_images(32, 0, "test")
    recipe = Recipe(epochs=2, batch_size=16, shift=2, flip=True)
    model = build_network("expunge:small_cnn", 10, in_channels=3, channels=(4, 8))
    partial(loops.dataloader, workers=workers)(model, images, recipe, 0)
    assert model.state_dict()["blocks.0.1.num_batches_tracked"] == 4


@pytest.mark.parametrize(("goal", "code"), [(0.0, 0), (1e9, 1)])
def test_it_stores_every_ratio_and_exits_by_the_goal(
    goal: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "results" / "throughput.json"
    options = ["--repeats", "2", "--epochs", "1", "--output", str(output)]
    monkeypatch.setattr(throughput, "CASES", SMALL)
    monkeypatch.setattr(throughput, "GOAL", goal)
    monkeypatch.setattr(sys, "argv", ["throughput", *options])
    threads = torch.get_num_threads()
    try:
        assert throughput.main() == code
    finally:
        torch.set_num_threads(threads)
    report = json.loads(output.read_text())
    assert report["reached"] == (code == 0)
    assert {"torch", "processor", "threads", "load_average", "load_average_before"} <= set(report)
    [entry] = report["networks"]
    assert entry["images"] == 32
    assert entry["seeds"] == [1, 2]
    ratios = entry["ours_relative_to"]
    assert set(ratios) == {"bare", "dataloader_0_workers", "dataloader_2_workers"}
    for clocks in ratios.values():
        for figures in clocks.values():
            assert len(figures["values"]) == 2
            assert 0 < figures["min"] <= figures["mean"] <= figures["max"]


def test_a_ratio_is_taken_within_one_round() -> None:
    round_ = {"ours": {"clock": 2.0, "cpu": 1.0}, "bare": {"clock": 1.0, "cpu": 3.0}}
    assert throughput.relative(round_, "bare") == {"clock": 0.5, "cpu": 3.0}


def test_numbers_that_measure_nothing_are_refused() -> None:
    with pytest.raises(SystemExit):
        throughput.parse(["--repeats", "0"])
