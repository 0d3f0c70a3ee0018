"""Each trap that published audits fell into has a test here that fails when ours does.

The figures are taken from the audit's own measurements, not from the metrics' functions, so that a
right function called with the wrong argument is found too. This file holds the traps of features,
`test_traps_outputs.py` those of probabilities and attacks.
"""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unlearning.audit.tools import measured_on, samples_of, seen_by
from unlearning import controls
from unlearning.audit import AuditedModel, audit
from unlearning.audit.laboratory import Laboratory
from unlearning.audit.measure import SHARED, Part, measure, split_parts
from unlearning.audit.measurement import Measurement
from unlearning.audit.observation import Samples
from unlearning.data import TensorImages
from unlearning.problem import Problem

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

FORGOTTEN = 3


@pytest.fixture(scope="module")
def samples(blobs: "World") -> Samples:
    return samples_of(blobs, blobs.of_class(FORGOTTEN))


@pytest.fixture(scope="module")
def original(blobs: "World") -> nn.Module:
    return blobs.model((), 2)


@pytest.fixture(scope="module")
def measured(samples: Samples, original: nn.Module) -> Measurement:
    return measured_on(original, samples)


def _slow_da(retain: Tensor, forget: Tensor, centre: Tensor, k: int, scale: Tensor) -> float:
    """Project one sample at a time onto the k leading axes of the retain set about ``centre``."""
    z = (retain - centre) / scale
    axes = torch.linalg.svd(z.T @ z)[0][:, :k]
    inside = whole = 0.0
    for row in (forget - centre) / scale:
        inside += float((axes.T @ row).square().sum())
        whole += float(row.square().sum())
    return inside / whole


def test_alignment_is_about_the_retain_mean_with_one_direction_less_than_classes(
    original: nn.Module, samples: Samples, measured: Measurement
) -> None:
    retain, _, erased = (outputs.features.double() for outputs in seen_by(original, samples))
    mean, scale = retain.mean(0), retain.std(0, correction=0)
    everything = torch.cat([retain, erased])
    one = torch.ones_like(scale)
    right = _slow_da(retain, erased, mean, 2, scale)
    assert measured.values["da"] == pytest.approx(right, abs=1e-5)
    # Fallen into: global-mean centring, k = |C_R|, features without standardisation.
    wrong = {
        "global mean": _slow_da(everything, erased, everything.mean(0), 3, scale),
        "k = |C_R|": _slow_da(retain, erased, mean, 3, scale),
        "raw features": _slow_da(retain, erased, mean, 2, one),
    }
    for trap, value in wrong.items():
        assert value != pytest.approx(right, abs=1e-3), trap


@pytest.mark.parametrize("factor", [1e6, 1e-6, 1e15])
def test_inflating_one_channel_changes_no_figure(
    original: nn.Module, samples: Samples, measured: Measurement, factor: float
) -> None:
    inflated = copy.deepcopy(original)
    last, head = [m for m in inflated.modules() if isinstance(m, nn.Linear)][-2:]
    with torch.no_grad():
        last.weight[3] *= factor
        last.bias[3] *= factor
        head.weight[:, 3] /= factor
    found = measured_on(inflated, samples)
    for name in ("da", "log_rho", "nmi", "ncc.forgotten", "effective_rank.forget"):
        assert found.values[name] == pytest.approx(measured.values[name], abs=1e-3), name


def test_a_channel_that_only_the_forgotten_class_excites_does_not_decide_alone(
    original: nn.Module, samples: Samples, measured: Measurement
) -> None:
    class Lonely(nn.Module):
        """The original with one more channel, nearly constant but for the forgotten class."""

        def __init__(self) -> None:
            super().__init__()
            self.body = copy.deepcopy(original)
            self.head = nn.Linear(17, 4)

        def forward(self, x: Tensor) -> Tensor:
            caught = []
            handle = self.body.get_submodule("head").register_forward_pre_hook(
                lambda _module, inputs: caught.append(inputs[0])
            )
            logits: Tensor = self.body(x)
            handle.remove()
            own = (logits.argmax(1) == FORGOTTEN).float()[:, None] + 1e-7 * logits[:, :1]
            silent: Tensor = 0 * self.head(torch.cat([caught[0], own], dim=1))
            return logits + silent

    found = measured_on(Lonely(), samples)
    # At most √(1 / share of F among H and E) / floor standard deviations, not millions.
    assert found.values["log_rho"] < measured.values["log_rho"] + np.log(1e4)
    assert np.isfinite(found.values["da"])


def test_earlier_erasures_have_no_part_in_the_retain_set(
    blobs: "World", original: nn.Module
) -> None:
    """R = D ∖ E: what else was erased before, replaced by noise, changes no figure of F."""
    erased = blobs.of_class(FORGOTTEN)
    before = blobs.of_class(0)[:10]
    samples = samples_of(blobs, [*before, *erased])
    labels = samples.erased.labels
    index = (labels == FORGOTTEN).nonzero().squeeze(1)
    part = Part(scope="class", positions=index, classes=(FORGOTTEN,))
    assert isinstance(samples.erased, TensorImages)
    pixels = samples.erased.images.clone()
    pixels[labels == 0] = 255 - pixels[labels == 0]
    other = replace(samples, erased=TensorImages(pixels, labels, 4, (0.5,), (0.25,)))
    first, second = (measure(original, s, {"part": part}) for s in (samples, other))
    assert first["part"].values == pytest.approx(second["part"].values, abs=1e-9)
    assert first[SHARED].counts["accuracy.retain"] == len(blobs.train) - len(erased) - 10
    wrong = replace(samples, retain=blobs.train.subset(torch.tensor([*range(180), *before])))
    assert measure(original, wrong, {"part": part})["part"].values["log_rho"] != pytest.approx(
        first["part"].values["log_rho"], abs=1e-6
    )


def test_relearning_forgets_the_masks_bias_and_leaves_the_audited_model(
    blobs: "World", original: nn.Module
) -> None:
    task = replace(blobs.task(blobs.of_class(FORGOTTEN)), cache_dir=None)
    laboratory = Laboratory(task)
    (part,) = split_parts(laboratory.samples, torch.arange(60))
    masked = controls.head_masked(
        Problem(
            model=original,
            forget=task.erased,
            retain=task.retain,
            holdout=task.holdout,
            classifier="head",
            num_classes=4,
        )
    )
    before = {name: value.clone() for name, value in masked.state_dict().items()}
    plain, hidden = (
        laboratory.relearn(AuditedModel(load=lambda m=model: m), part)  # type: ignore[misc]
        for model in (original, masked)
    )
    # The features are the same, so is what can be relearnt from them.
    assert plain.values == hidden.values
    assert torch.equal(plain.tensors["curve"], hidden.tensors["curve"])
    assert all(torch.equal(before[name], value) for name, value in masked.state_dict().items())


def test_clusters_are_of_the_whole_holdout(samples: Samples, measured: Measurement) -> None:
    # On the forgotten class alone H(C) = 0 and the figure would have no value.
    assert measured.counts["nmi"] == len(samples.holdout)
    assert measured.values["nmi"] > 0.5
    assert measured.counts["f1.forgotten"] == int((samples.holdout.labels == FORGOTTEN).sum())


def test_a_probe_that_still_finds_the_class_is_no_reason_to_fail(blobs: "World") -> None:
    """Genuine retrains probe high: no gate may compare the probe with a fixed number."""
    erased = blobs.of_class(2)
    result = audit(blobs.task(erased, blobs.model(erased, 3)))["request"]
    rows = {row["name"]: row for row in result.to_json()["parts"][0]["metrics"]}
    assert rows["probe.forgotten"]["references"]["mean"] > 0.6
    assert not rows["probe.forgotten"]["gated"]
    assert result.verdict != "FAIL"
