"""Planted labels are wrong, even, repeatable, and leave the images alone."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearning.data import TensorImages, concatenate
from unlearning.errors import InvalidProblem
from unlearning.planting import plant_wrong_labels


def _images(labels: list[int], num_classes: int = 6) -> TensorImages:
    pixels = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    return TensorImages(pixels, torch.tensor(labels), num_classes, (0.0,), (1.0,))


@given(st.lists(st.sampled_from([0, 2, 5]), min_size=1, max_size=20), st.integers(0, 2**31))
def test_every_label_is_another_one_of_the_classes(labels: list[int], seed: int) -> None:
    planted = plant_wrong_labels(_images(labels), [0, 2, 5], seed).labels.tolist()
    assert all(new != old and new in {0, 2, 5} for new, old in zip(planted, labels, strict=True))


def test_the_wrong_labels_are_drawn_evenly() -> None:
    counts = Counter(plant_wrong_labels(_images([1] * 200), range(5), 0).labels.tolist())
    assert set(counts) == {0, 2, 3, 4}
    assert min(counts.values()) > 25


def test_equal_seeds_plant_equal_labels_and_others_do_not() -> None:
    first, second, other = (
        plant_wrong_labels(_images([0] * 30), range(6), seed).labels.tolist() for seed in (1, 1, 2)
    )
    assert first == second != other


def test_images_stay_and_subsets_keep_the_planted_labels() -> None:
    images = _images([0, 1, 2, 3])
    planted = plant_wrong_labels(images, range(6), 3)
    index = torch.tensor([3, 1])
    assert torch.equal(planted.batch(index), images.batch(index))
    assert torch.equal(planted.subset(index).labels, planted.labels[index])
    assert torch.equal(planted.subset(index).batch(torch.tensor([0])), images.batch(index[:1]))
    joined = concatenate(images, planted)
    assert joined.labels.tolist() == [0, 1, 2, 3, *planted.labels.tolist()]
    assert len(list(planted.batches([index]))) == 1


@pytest.mark.parametrize("classes", [[0], [1, 2]])
def test_labels_that_cannot_be_wrong_are_refused(classes: list[int]) -> None:
    with pytest.raises(InvalidProblem):
        plant_wrong_labels(_images([0]), classes, 0)
