"""Each trap that published audits fell into has a test here that fails when ours does.

The figures are taken from the audit's own measurements, not from the metrics' functions, so that a
right function called with the wrong argument is found too.
"""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unlearning import controls
from unlearning.audit import AuditedModel, audit
from unlearning.audit.gates import compare_jointly, matrix, vector
from unlearning.audit.laboratory import Laboratory
from unlearning.audit.measure import SHARED, Part, measure, split_parts
from unlearning.audit.measurement import Measurement
from unlearning.audit.observation import Samples
from unlearning.data import TensorImages
from unlearning.features import Outputs, extract
from unlearning.problem import Problem

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

FORGOTTEN = 3
INSTANCES = list(range(0, 40, 4))


def _samples(blobs: "World", erased: list[int]) -> Samples:
    task = blobs.task(erased)
    return Samples(
        retain=task.retain,
        holdout=task.holdout,
        erased=task.erased,
        classifier=task.classifier,
        num_classes=task.num_classes,
    )


@pytest.fixture(scope="module")
def samples(blobs: "World") -> Samples:
    return _samples(blobs, blobs.of_class(FORGOTTEN))


@pytest.fixture(scope="module")
def original(blobs: "World") -> nn.Module:
    return blobs.model((), 2)


@pytest.fixture(scope="module")
def measured(samples: Samples, original: nn.Module) -> Measurement:
    return _measure(original, samples)


def _measure(model: nn.Module, samples: Samples, key: str = "part") -> Measurement:
    (part,) = split_parts(samples, torch.arange(len(samples.erased)))
    return measure(model, samples, {"part": part})[key]


def _seen(model: nn.Module, samples: Samples) -> tuple[Outputs, Outputs, Outputs]:
    sets = (samples.retain, samples.holdout, samples.erased)
    retain, holdout, erased = (extract(model, images, "head") for images in sets)
    return retain, holdout, erased


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
    retain, _, erased = (outputs.features.double() for outputs in _seen(original, samples))
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
    found = _measure(inflated, samples)
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

    found = _measure(Lonely(), samples)
    # At most √(1 / share of F among H and E) / floor standard deviations, not millions.
    assert found.values["log_rho"] < measured.values["log_rho"] + np.log(1e4)
    assert np.isfinite(found.values["da"])


def test_earlier_erasures_have_no_part_in_the_retain_set(
    blobs: "World", original: nn.Module
) -> None:
    """R = D ∖ E: what else was erased before, replaced by noise, changes no figure of F."""
    erased = blobs.of_class(FORGOTTEN)
    before = blobs.of_class(0)[:10]
    samples = _samples(blobs, [*before, *erased])
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


def test_probabilities_are_read_row_by_row(blobs: "World", original: nn.Module) -> None:
    """Whole columns `[:, labels]` in place of one entry per row is the bug that is everywhere."""
    samples = _samples(blobs, INSTANCES)
    found = _measure(original, samples)
    _, holdout, erased = _seen(original, samples)
    known = samples.holdout_retained
    hottest = _slow_temperature(holdout.logits[known], samples.holdout.labels[known])
    expected = [
        float(torch.softmax(row.double() / hottest, 0)[label])
        for row, label in zip(erased.logits, samples.erased.labels.tolist(), strict=True)
    ]
    assert found.tensors["p_y"].tolist() == pytest.approx(expected, abs=1e-3)
    people = samples.population.tolist()
    crowd = [
        float(
            torch.softmax(holdout.logits[i].double() / hottest, 0)[int(samples.holdout.labels[i])]
        )
        for i in people
    ]
    assert found.tensors["p_y.population"].tolist() == pytest.approx(crowd, abs=1e-3)


def _slow_temperature(logits: Tensor, labels: Tensor) -> float:
    """Try a thousand temperatures."""
    grid = np.exp(np.linspace(-5, 5, 4001))
    losses = [float(nn.functional.cross_entropy(logits.double() / value, labels)) for value in grid]
    return float(grid[int(np.argmin(losses))])


def test_the_rank_is_among_all_of_the_holdout_and_not_the_labels_own(
    blobs: "World", original: nn.Module
) -> None:
    samples = _samples(blobs, INSTANCES)
    found = _measure(original, samples).values["rank"]
    _, holdout, erased = _seen(original, samples)

    def margin(row: Tensor, label: int) -> float:
        return float(row[label]) - max(float(v) for i, v in enumerate(row) if i != label)

    def mean_rank(*, matched: bool) -> float:
        logits = []
        for row, label in zip(erased.logits, samples.erased.labels.tolist(), strict=True):
            own = margin(row, label)
            crowd = [
                margin(other, label)
                for other, truth in zip(
                    holdout.logits, samples.holdout.labels.tolist(), strict=True
                )
                if truth == label or not matched
            ]
            below = sum(value < own for value in crowd) + 0.5 * sum(value == own for value in crowd)
            share = (below + 0.5) / (len(crowd) + 1)
            logits.append(np.log(share / (1 - share)))
        return float(np.mean(logits))

    assert found == pytest.approx(mean_rank(matched=False), abs=1e-6)
    assert found != pytest.approx(mean_rank(matched=True), abs=0.1)


def test_the_scale_of_the_logits_moves_no_instance_gate(
    blobs: "World", original: nn.Module
) -> None:
    samples = _samples(blobs, INSTANCES)
    louder = copy.deepcopy(original)
    head = louder.get_submodule("head")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.mul_(7)
        head.bias.mul_(7)
    plain, loud = (_measure(model, samples) for model in (original, louder))
    others = [_measure(blobs.model(INSTANCES, 1000 + i), samples) for i in range(4)]
    names = ("rank", "normalised_margin", "log_divergence.forget", "attack.rmia")
    assert vector(names, loud, others) == pytest.approx(vector(names, plain, others), abs=1e-3)


def test_every_model_is_treated_alike_so_exactly_one_is_the_farthest(blobs: "World") -> None:
    """A reference scored with itself, or without the candidate, would break the test's level."""
    samples = _samples(blobs, INSTANCES)
    pool = [_measure(blobs.model(INSTANCES, 1000 + i), samples) for i in range(7)]
    names = ("rank", "log_divergence.forget", "attack.rmia")
    ranks = []
    for index, model in enumerate(pool):
        others = pool[:index] + pool[index + 1 :]
        ranks.append(compare_jointly(names, model, others).rank)
        assert compare_jointly(names, model, others[::-1]).rank == ranks[-1]
        # The report's row sets a reference against the others, as a candidate against them all.
        row = matrix(names, pool)[index]
        assert row == pytest.approx(vector(names, model, others), abs=1e-9)
    assert sorted(ranks) == list(range(1, 8))


def test_a_probe_that_still_finds_the_class_is_no_reason_to_fail(blobs: "World") -> None:
    """Genuine retrains probe high: no gate may compare the probe with a fixed number."""
    erased = blobs.of_class(2)
    result = audit(blobs.task(erased, blobs.model(erased, 3)))["request"]
    rows = {row["name"]: row for row in result.to_json()["parts"][0]["metrics"]}
    assert rows["probe.forgotten"]["references"]["mean"] > 0.6
    assert not rows["probe.forgotten"]["gated"]
    assert result.verdict != "FAIL"


def test_the_population_is_drawn_and_not_every_so_manieth(blobs: "World") -> None:
    """Every fourth of a hold-out in a cycle of four classes would be one class only."""
    samples = _samples(blobs, INSTANCES)
    cycle = samples.holdout.labels.tolist()[:8]
    assert cycle == [0, 1, 2, 3, 0, 1, 2, 3]
    many = samples.holdout.subset(torch.arange(120).repeat(200))
    drawn = replace(samples, holdout=many).population
    assert len(drawn) == 5000
    counts = torch.bincount(many.labels[drawn], minlength=4)
    assert int(counts.min()) > 1000
    assert torch.equal(drawn, replace(samples, holdout=many).population)
