"""A measurement is stored whole, is free of hidden scales, and says what it lacks."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from unlearning import controls
from unlearning.audit import measurement
from unlearning.audit.measure import Part, measure, split_parts
from unlearning.audit.measurement import Measurement
from unlearning.audit.observation import Samples, thin
from unlearning.errors import NotComputable
from unlearning.metrics.accuracy import Accuracy
from unlearning.problem import Problem

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

FORGOTTEN = 3


@pytest.fixture(scope="module")
def samples(blobs: "World") -> Samples:
    task = blobs.task(blobs.of_class(FORGOTTEN))
    return Samples(
        retain=task.retain,
        holdout=task.holdout,
        erased=task.erased,
        classifier=task.classifier,
        num_classes=task.num_classes,
    )


@pytest.fixture(scope="module")
def part(samples: Samples) -> Part:
    (only,) = split_parts(samples, torch.arange(len(samples.erased)))
    return only


def _raise() -> float:
    raise NotComputable("there is none")


def test_a_measurement_survives_its_file(tmp_path: Path) -> None:
    measured = Measurement()
    measured.note("one", 3, lambda: 1.5, lambda: (1.0, 2.0))
    measured.note("none", 3, _raise)
    measured.note_share("share", lambda: Accuracy(1, 2))
    measured.note_tensor("points", lambda: torch.arange(6.0).reshape(2, 3).T)
    measured.save(tmp_path / "new" / "measured.safetensors")
    stored = Measurement.load(tmp_path / "new" / "measured.safetensors")
    assert stored is not None
    assert torch.equal(stored.tensors.pop("points"), measured.tensors.pop("points"))
    assert stored == measured
    assert stored.missing == {"none": "there is none"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["measured.safetensors"]


def test_files_of_other_definitions_or_none_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "measured.safetensors"
    assert Measurement.load(path) is None
    Measurement().save(path)
    monkeypatch.setattr(measurement, "METRICS_VERSION", "another")
    assert Measurement.load(path) is None


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "measured.safetensors"
    path.write_bytes(b"half a fi")
    assert Measurement.load(path) is None


def test_rescaled_channels_change_no_figure(blobs: "World", samples: Samples, part: Part) -> None:
    original = blobs.model((), 2)
    problem = Problem(
        model=original,
        forget=samples.erased,
        retain=samples.retain,
        holdout=samples.holdout,
        classifier="head",
        num_classes=4,
    )
    plain, rescaled = (
        measure(model, samples, {"part": part})["part"]
        for model in (original, controls.channels_rescaled(problem))
    )
    assert rescaled.values == pytest.approx(plain.values, abs=1e-3)


def test_figures_that_have_no_value_say_why(blobs: "World", samples: Samples, part: Part) -> None:
    seen = (samples.holdout.labels != FORGOTTEN).nonzero().squeeze(1)
    blind = replace(samples, holdout=samples.holdout.subset(seen))
    measured = measure(blobs.model((), 0), blind, {"part": part})["part"]
    for name in ("accuracy.holdout_forgotten", "ncc.forgotten", "probe.forgotten"):
        assert name not in measured.values
        assert measured.missing[name]
    assert "predictions.holdout_forgotten" in measured.missing


def test_parts_are_told_by_what_remains_of_their_class(blobs: "World", samples: Samples) -> None:
    single = blobs.of_class(0)[:5]
    erased = blobs.train.subset(torch.tensor([*single, *blobs.of_class(FORGOTTEN)]))
    mixed = replace(samples, erased=erased)
    whole, instances = split_parts(mixed, torch.arange(len(erased)).flip(0))
    assert (whole.scope, whole.classes, len(whole.positions)) == ("class", (FORGOTTEN,), 60)
    assert (instances.scope, instances.positions.tolist()) == ("instance", [0, 1, 2, 3, 4])


def test_thinning_keeps_order_ends_and_limit() -> None:
    assert thin(3, 5).tolist() == [0, 1, 2]
    some = thin(1000, 7)
    assert len(some) == 7
    assert some[0] == 0
    assert (some.diff() > 100).all()
