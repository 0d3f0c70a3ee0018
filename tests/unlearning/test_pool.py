"""The pool's predictions come from models that never saw the sample, and show what is memorised."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from unlearning import pool
from unlearning.data import Images, TensorImages, concatenate
from unlearning.errors import Cancelled, InvalidProblem
from unlearning.features import extract
from unlearning.folds import split_folds
from unlearning.methods import get_method
from unlearning.metrics.rmia import rmia_scores
from unlearning.networks import classifier_name
from unlearning.pool import Pool, PoolTask, recognised, train_pool
from unlearning.progress import CancelToken, Progress
from unlearning.randomness import derive_seed
from unlearning.recipe import Recipe
from unlearning.testing import NUM_CLASSES, mlp, small_cnn, toy_images, toy_problem
from unlearning.training import train_from_recipe

PLANTED = 3
"""Place in F of the sample whose label is wrong."""


def task_of(number: int = 60, epochs: int = 2, **changes: object) -> PoolTask:
    images, forget = toy_images(number), torch.arange(0, 12)
    values: dict[str, object] = {
        "build": mlp,
        "recipe": Recipe(epochs=epochs, batch_size=16, peak_lr=0.05, shift=0),
        "retain": images.subset(torch.arange(12, number)),
        "forget": images.subset(forget),
        "holdout": toy_images(24, seed=1),
    }
    return PoolTask(**(values | changes))  # type: ignore[arg-type]


def mislabelled(images: TensorImages, place: int) -> TensorImages:
    labels = images.labels.clone()
    labels[place] = (labels[place] + 1) % NUM_CLASSES
    return TensorImages(images.images, labels, NUM_CLASSES, images.mean, images.std)


@pytest.fixture(scope="module")
def planted() -> Pool:
    """The pool of a recipe that memorises, with one wrong label among the forget samples."""
    recipe = Recipe(epochs=40, batch_size=16, peak_lr=0.05, shift=0, weight_decay=0.0)
    task = task_of(120, recipe=recipe, build=small_cnn)
    forget = mislabelled(task.forget, PLANTED)  # type: ignore[arg-type]
    return train_pool(replace(task, forget=forget))


def test_a_wrong_label_is_foreign_to_models_that_never_saw_it(planted: Pool) -> None:
    labels = mislabelled(task_of().forget, PLANTED).labels  # type: ignore[arg-type]
    own = planted.forget_predictions.gather(1, labels[:, None]).squeeze(1)
    others = torch.arange(len(own)) != PLANTED
    assert own[PLANTED] < 0.1
    assert own[others].min() > 0.5


def test_a_wrong_label_is_the_most_memorised_sample(planted: Pool) -> None:
    for memorised in (planted.memorised(), planted.mean_memorised()):
        others = torch.arange(len(memorised)) != PLANTED
        assert memorised[PLANTED] > 0.8
        assert memorised[others].max() < 0.5
        assert memorised.abs().max() <= 1


def test_memorisation_is_what_listing_all_models_gives(planted: Pool) -> None:
    for sample, (largest, mean) in enumerate(
        zip(planted.memorised().tolist(), planted.mean_memorised().tolist(), strict=True)
    ):
        values = planted.forget_probabilities[:, sample].tolist()
        saw = [v for v, out in zip(values, planted.unseen[:, sample], strict=True) if not out]
        not_saw = [v for v, out in zip(values, planted.unseen[:, sample], strict=True) if out]
        assert largest == pytest.approx(max(a - b for a in saw for b in not_saw))
        assert mean == pytest.approx(sum(saw) / len(saw) - sum(not_saw) / len(not_saw))


def test_rmia_from_the_pool_calls_the_memorised_sample_a_member(planted: Pool) -> None:
    references, population_references = planted.rmia_references()
    assert references.shape == (1, 12)
    for sample, value in enumerate(references[0].tolist()):
        [fold] = planted.unseen[:, sample].nonzero()[:, 0].tolist()
        assert value == planted.forget_probabilities[fold, sample]
    own = planted.forget_probabilities.amax(0)
    population = planted.holdout_probabilities[0]
    scores = rmia_scores(own, references, population, population_references)
    assert scores[PLANTED] == 1
    assert scores.argmax() == PLANTED


def test_predictions_are_those_of_a_model_trained_without_the_samples_fold() -> None:
    task = task_of(seed=5)
    made = train_pool(task)
    whole = concatenate(task.retain, task.forget)
    folds = split_folds(whole.labels, seed=derive_seed(5, "pool", 0))
    for sample in (0, 7):
        fold = int(folds[len(task.retain) + sample])
        rest = whole.subset((folds != fold).nonzero()[:, 0])
        seed = derive_seed(5, "pool", 0, fold)
        model = train_from_recipe(task.build, rest, task.recipe, seed=seed)
        logits = extract(model, task.forget, classifier_name(model), stages=False).logits
        expected = torch.softmax(logits[sample], dim=0)
        torch.testing.assert_close(made.forget_predictions[sample], expected)


def test_nothing_but_r_and_f_is_trained_on_and_a_tenth_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = task_of(rounds=2, groups=torch.arange(60) // 2)
    normalised = {
        image.numpy().tobytes()
        for images in (task.retain, task.forget)
        for image in images.batch(torch.arange(len(images)))
    }
    sizes = []

    def spy(
        build: Callable[[], nn.Module],
        images: Images,
        recipe: Recipe,
        **options: Any,  # noqa: ANN401 - passed on
    ) -> nn.Module:
        sizes.append(len(images))
        seen = images.batch(torch.arange(len(images)))
        assert {image.numpy().tobytes() for image in seen} <= normalised
        return train_from_recipe(build, images, recipe, **options)

    monkeypatch.setattr(pool, "train_from_recipe", spy)
    made = train_pool(task)
    assert min(sizes) >= 54
    assert sum(60 - size for size in sizes) == 2 * 60
    assert made.unseen.sum(0).tolist() == [2] * 12
    pairs = made.unseen.view(len(sizes), 6, 2)
    assert torch.equal(pairs[..., 0], pairs[..., 1])
    assert made.rmia_references()[0].shape == (2, 12)


def test_equal_seeds_give_equal_pools_and_others_do_not() -> None:
    first, again, other = (train_pool(task_of(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.forget_predictions, again.forget_predictions)
    assert not torch.equal(first.forget_predictions, other.forget_predictions)


def test_progress_over_all_models_only_grows_and_ends() -> None:
    reports: list[Progress] = []
    train_pool(task_of(progress=reports.append))
    shares = [report.step / report.total for report in reports]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {report.phase for report in reports} == {"pool"}


def test_a_token_stops_the_pool() -> None:
    token = CancelToken()
    with pytest.raises(Cancelled):
        train_pool(task_of(cancel=token, progress=lambda _: token.cancel()))


def test_predictions_are_targets_that_a_problem_and_muda_take() -> None:
    problem = toy_problem(scope="instance")
    assert problem.build is not None
    assert problem.recipe is not None
    made = train_pool(
        PoolTask(
            build=problem.build,
            recipe=replace(problem.recipe, epochs=1),
            retain=problem.retain,
            forget=problem.forget,
            holdout=problem.holdout,
        )
    )
    assert made.forget_predictions.sum(1).tolist() == pytest.approx([1.0] * len(problem.forget))
    result = get_method("muda")(replace(problem, forget_predictions=made.forget_predictions))
    assert all(torch.isfinite(tensor).all() for tensor in result.state_dict().values())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"groups": torch.arange(59)}, "R first, then F"),
        ({"rounds": 0}, "one round"),
        ({"holdout": toy_images(4).subset(torch.arange(0))}, "holdout set is empty"),
        ({"groups": torch.zeros(60, dtype=torch.int64)}, "group of 60"),
    ],
)
def test_what_makes_no_pool_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidProblem, match=why):
        train_pool(task_of(**changes))  # type: ignore[arg-type]


def test_a_model_that_memorised_is_recognised_and_a_stranger_is_not() -> None:
    recipe = Recipe(epochs=40, batch_size=16, peak_lr=0.05, shift=0, weight_decay=0.0)
    task = task_of(120, recipe=recipe, build=small_cnn)
    wrong = mislabelled(task.forget, PLANTED)  # type: ignore[arg-type]
    task = replace(task, forget=wrong)
    made = train_pool(task)
    saw = train_from_recipe(task.build, concatenate(task.retain, wrong), recipe, seed=7)
    stranger = train_from_recipe(task.build, task.retain, recipe, seed=7)
    assert recognised(made, saw, task)[PLANTED] > 0.9
    assert recognised(made, stranger, task)[PLANTED] < 0.5
