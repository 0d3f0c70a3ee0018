"""Recipes are strict, and equal ones have equal digests."""

import json

import pytest

from unlearning.errors import InvalidProblem
from unlearning.recipe import Recipe


def test_recipe_survives_json() -> None:
    recipe = Recipe(epochs=3, peak_lr=0.2, flip=True)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_digest_depends_on_values_and_not_on_their_notation() -> None:
    assert Recipe.from_dict({"peak_lr": 1}).digest() == Recipe(peak_lr=1.0).digest()
    assert Recipe(epochs=3).digest() != Recipe(epochs=4).digest()
    assert Recipe().digest() == ("291382f8a7ae54ff7ff6129771c7536a1cbb815ebcc81efbc08bcc08f238ba38")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidProblem, match="unknown epoch; known are batch_size"):
        Recipe.from_dict({"epoch": 3})


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"epochs": 2.0},
        {"epochs": True},
        {"epochs": "3"},
        {"batch_size": 0},
        {"peak_lr": 0},
        {"peak_lr": float("nan")},
        {"peak_lr": float("inf")},
        {"momentum": 1.0},
        {"nesterov": True, "momentum": 0.0},
        {"weight_decay": -1.0},
        {"clip_norm": 0},
        {"label_smoothing": 1.0},
        {"shift": -1},
        {"flip": 1},
        {"init": ""},
        {"init": "IMAGENET1K_V1"},
        {"init": None},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InvalidProblem, match=next(iter(values))):
        Recipe.from_dict(values)
