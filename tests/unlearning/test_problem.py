"""A problem knows its scope and refuses what contradicts itself."""

import threading
from dataclasses import replace
from typing import Any

import pytest
import torch

import unlearning.errors
from unlearning.data import TensorImages
from unlearning.errors import Cancelled, InvalidProblem, NotComputable, UnlearningError
from unlearning.progress import CancelToken
from unlearning.testing import toy_images, toy_problem

PROBLEM = toy_problem()


@pytest.mark.parametrize(
    ("scope", "forgotten", "retained"),
    [("class", (2,), (0, 1, 3)), ("instance", (), (0, 1, 2, 3)), ("mixed", (2,), (0, 1, 3))],
)
def test_scope_follows_from_the_labels(
    scope: str, forgotten: tuple[int, ...], retained: tuple[int, ...]
) -> None:
    problem = toy_problem(scope=scope)
    assert problem.scope == scope
    assert problem.forgotten_classes == forgotten
    assert problem.retained_classes == retained


@pytest.mark.parametrize("name", ["forget", "retain", "holdout"])
def test_empty_sets_and_other_classes_are_refused(name: str) -> None:
    images: TensorImages = getattr(PROBLEM, name)
    empty: dict[str, Any] = {name: images.subset(torch.arange(0))}
    with pytest.raises(InvalidProblem, match=f"{name} set is empty"):
        replace(PROBLEM, **empty)
    wide = TensorImages(images.images, images.labels, 7, images.mean, images.std)
    other: dict[str, Any] = {name: wide}
    with pytest.raises(InvalidProblem, match=f"{name} set has 7 classes"):
        replace(PROBLEM, **other)


def test_wrong_classifiers_and_devices_are_refused() -> None:
    with pytest.raises(InvalidProblem, match="no module called"):
        replace(PROBLEM, classifier="tail")
    with pytest.raises(InvalidProblem, match="no linear layer"):
        replace(PROBLEM, classifier="pool")
    wide = TensorImages(PROBLEM.forget.batch(torch.arange(1)).byte(), torch.zeros(1), 5, [0], [1])
    with pytest.raises(InvalidProblem, match="4 outputs, not 5"):
        replace(PROBLEM, num_classes=5, forget=wide, retain=wide, holdout=wide)
    with pytest.raises(InvalidProblem, match="not on the device cuda"):
        replace(PROBLEM, device="cuda")
    with pytest.raises(InvalidProblem, match="forget_predictions"):
        replace(PROBLEM, forget_predictions=torch.zeros(1, 4))


def test_copied_model_is_apart() -> None:
    copied = PROBLEM.copy_model()
    next(copied.parameters()).data.fill_(0)
    assert next(PROBLEM.model.parameters()).any()


def test_cancel_token_works_across_threads() -> None:
    token = CancelToken()
    token.raise_if_cancelled()
    thread = threading.Thread(target=token.cancel)
    thread.start()
    thread.join()
    assert token.cancelled
    with pytest.raises(Cancelled):
        token.raise_if_cancelled()


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = [
        kind
        for kind in vars(unlearning.errors).values()
        if isinstance(kind, type) and issubclass(kind, UnlearningError)
    ]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert NotComputable("why").reason == "why"


def test_toy_images_can_be_told_apart() -> None:
    images = toy_images(8)
    x = images.batch(torch.arange(8))
    corners = [(top, left) for top in (0, 4) for left in (0, 4)]
    quarters = torch.stack([x[:, 0, a : a + 4, b : b + 4].mean((1, 2)) for a, b in corners])
    assert torch.equal(quarters.argmax(0), images.labels)
