"""What cannot carry a verdict is refused or named, and never passes."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from unlearning.audit import AuditedModel, AuditResult, AuditTask, audit
from unlearning.audit.overlap import overlapping
from unlearning.data import StreamedImages, TensorImages
from unlearning.errors import InvalidProblem
from unlearning.networks import build_network
from unlearning.training import train_from_recipe

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

FORGOTTEN = 2


@pytest.fixture
def task(blobs: "World") -> AuditTask:
    erased = blobs.of_class(FORGOTTEN)
    return blobs.task(erased, blobs.model(erased, 3))


def _only(task: AuditTask) -> AuditResult:
    return audit(task)["request"]


def _with_reference(task: AuditTask, model: nn.Module) -> AuditTask:
    return replace(task, references=[AuditedModel(load=lambda: model), *task.references[1:]])


def _mlp(num_classes: int = 4, hidden: tuple[int, ...] = (32, 16)) -> nn.Module:
    return build_network("expunge:mlp", num_classes, in_features=36, hidden=hidden)


@pytest.mark.parametrize("hidden", [(32, 8), (64, 16), (16,)])
def test_a_reference_of_another_architecture_is_named(
    task: AuditTask, hidden: tuple[int, ...]
) -> None:
    result = _only(_with_reference(task, _mlp(hidden=hidden)))
    assert result.verdict == "INCONCLUSIVE"
    assert any("Reference 1 has another architecture" in reason for reason in result.reasons)


def test_a_candidate_with_other_classes_is_named(task: AuditTask) -> None:
    candidate = _mlp(num_classes=5)
    result = _only(replace(task, candidate=AuditedModel(load=lambda: candidate)))
    assert result.verdict == "INCONCLUSIVE"
    assert any("The candidate has another architecture" in reason for reason in result.reasons)


def test_an_original_or_reference_with_other_classes_says_how_many_outputs(
    task: AuditTask,
) -> None:
    model = _mlp(num_classes=3)
    for broken in (
        replace(task, original=AuditedModel(load=lambda: model)),
        _with_reference(task, model),
    ):
        result = _only(broken)
        assert result.verdict == "INCONCLUSIVE"
        assert any("3 outputs and the model has 4 classes" in reason for reason in result.reasons)


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_constant_or_broken_reference_is_named(task: AuditTask, value: float) -> None:
    broken = copy.deepcopy(task.references[0].load())
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(value)
    result = _only(_with_reference(task, broken))
    assert result.verdict == "INCONCLUSIVE"
    assert any("Reference 1 cannot be measured" in reason for reason in result.reasons)


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_a_constant_or_broken_original_is_named(task: AuditTask, value: float) -> None:
    broken = copy.deepcopy(task.original.load())
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(value)
    result = _only(replace(task, original=AuditedModel(load=lambda: broken)))
    assert result.verdict == "INCONCLUSIVE"
    assert any("The original cannot be measured" in reason for reason in result.reasons)


def test_references_that_were_trained_on_the_forgotten_class_are_found(
    blobs: "World", task: AuditTask
) -> None:
    references = [AuditedModel(load=partial(blobs.model, (), 50 + i)) for i in range(7)]
    result = _only(replace(task, references=references, candidate=task.original))
    assert result.verdict == "INCONCLUSIVE"
    assert any("it was trained on them" in reason for reason in result.reasons)


def test_references_that_were_trained_on_other_data_are_found(
    blobs: "World", task: AuditTask
) -> None:
    rest = (blobs.train.labels != FORGOTTEN).nonzero().squeeze(1)
    strange = blobs.train.subset(rest)
    # The labels of the others rotate: 0 → 1 → 3 → 0.
    following = torch.tensor([1, 3, 2, 0])
    labels = following[strange.labels]
    images = TensorImages(strange.images, labels, 4, (0.5,), (0.25,))
    models = [train_from_recipe(blobs.build, images, blobs.recipe, seed=70 + i) for i in range(7)]
    references = [AuditedModel(load=lambda m=model: m) for model in models]  # type: ignore[misc]
    result = _only(replace(task, references=references))
    assert result.verdict == "INCONCLUSIVE"
    assert any("recipe does not reproduce" in reason for reason in result.reasons)


def _joined(first: TensorImages, second: TensorImages) -> TensorImages:
    images, labels = (
        torch.cat([first.images, second.images]),
        torch.cat([first.labels, second.labels]),
    )
    return TensorImages(images, labels, 4, (0.5,), (0.25,))


@pytest.mark.parametrize("copies_of", ["retain", "erased"])
def test_a_holdout_that_was_trained_on_decides_nothing(task: AuditTask, copies_of: str) -> None:
    holdout, source = task.holdout, getattr(task, copies_of)
    assert isinstance(holdout, TensorImages)
    mixed = _joined(holdout, source.subset(torch.arange(10)))
    result = _only(replace(task, holdout=mixed, cache_dir=None))
    assert result.verdict == "INCONCLUSIVE"
    assert any("10 of 130 hold-out images are byte for byte" in r for r in result.reasons)
    assert result.counts["overlap"] == 10


def test_a_single_copy_among_many_is_counted_and_let_be(task: AuditTask) -> None:
    holdout, source = task.holdout, task.retain
    assert isinstance(holdout, TensorImages)
    assert isinstance(source, TensorImages)
    mixed = _joined(holdout, source.subset(torch.arange(1)))
    result = _only(replace(task, holdout=mixed, cache_dir=None))
    assert result.counts["overlap"] == 1
    assert not any("byte for byte" in reason for reason in result.reasons)


def test_copies_are_found_in_streamed_images_too(task: AuditTask) -> None:
    source = task.retain
    assert isinstance(source, TensorImages)

    def streamed(first: int, count: int) -> StreamedImages:
        load: Callable[[torch.Tensor], torch.Tensor] = lambda i: source.images[i + first]  # noqa: E731
        return StreamedImages(load, source.labels[first : first + count], 4, (0.5,), (0.25,))

    assert overlapping(streamed(0, 30), streamed(10, 15), streamed(100, 5)) == 15
    assert overlapping(streamed(0, 10), streamed(10, 15)) == 0


@pytest.mark.parametrize("name", ["retain", "holdout", "erased"])
def test_an_empty_set_is_refused(task: AuditTask, name: str) -> None:
    empty = getattr(task, name).subset(torch.zeros(0).long())
    with pytest.raises(InvalidProblem, match=f"the {name} set is empty"):
        replace(task, **{name: empty})
