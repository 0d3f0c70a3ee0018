"""NegGrad+ and SCRUB: their losses, their turns, and the way back."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unlearning.errors import InvalidProblem
from unlearning.features import extract
from unlearning.methods import GradientAscent, Scrub
from unlearning.methods.descent import endless_batches, share_of, without_statistics
from unlearning.methods.scrub import _History, matched_error, nearest_round
from unlearning.problem import Problem
from unlearning.recipe import Recipe
from unlearning.testing import mlp, small_cnn, toy_images, toy_problem
from unlearning.training import Batch, fit


def _whole(problem: Problem, role: str) -> Batch:
    images = problem.forget if role == "forget" else problem.retain
    index = torch.arange(len(images))
    return Batch(images.batch(index), images.labels, index)


def test_without_weight_on_the_forget_set_it_is_fine_tuning() -> None:
    problem = toy_problem()
    method = GradientAscent(beta=0, epochs=2, relative_lr=0.4)
    recipe = replace(problem.settings, epochs=2, peak_lr=problem.settings.peak_lr * 0.4)
    tuned = fit(problem.copy_model(), problem.retain, recipe, seed=problem.seed, schedule="falling")
    expected, result = tuned.state_dict(), method(problem).state_dict()
    assert all(torch.equal(result[name], expected[name]) for name in expected)


def test_the_loss_is_that_on_r_minus_beta_times_that_on_f() -> None:
    problem = replace(toy_problem(mlp), recipe=Recipe(batch_size=200, shift=0))
    model = toy_problem(mlp, seed=5).model
    loss = GradientAscent(beta=0.3)._loss(problem)(model, _whole(problem, "retain"))
    expected = 0.0
    for images, weight in ((problem.retain, 1.0), (problem.forget, -0.3)):
        for number in range(len(images)):
            logits = model(images.batch(torch.tensor([number])))[0].detach()
            own = float(logits.softmax(0)[int(images.labels[number])])
            expected -= weight * math.log(own) / len(images)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_forget_images_leave_no_trace_in_batch_statistics() -> None:
    model = small_cnn().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    with without_statistics(model):
        model(toy_images(16).batch(torch.arange(16)))
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    assert all(module.training for module in model.modules())


def test_endless_batches_show_every_sample_as_often() -> None:
    problem = replace(toy_problem(), recipe=Recipe(batch_size=10, shift=0))
    batches = endless_batches(problem.forget, problem)
    seen = torch.cat([next(batches).positions for _ in range(6)])
    assert seen.bincount().tolist() == [2] * len(problem.forget)


def test_a_share_is_drawn_without_repetition() -> None:
    images = toy_images(40)
    part = share_of(images, 0.25, 3)
    assert len(part) == 10
    assert share_of(images, 1.0, 3) is images
    assert len(share_of(images, 0.001, 3)) == 1


def test_max_epochs_on_f_come_before_min_epochs_on_r_and_then_stop() -> None:
    problem = toy_problem()
    method = Scrub(epochs=4, max_epochs=2)
    plan = method.plan(problem, _History(problem.copy_model(), problem))
    turns = [["F" if w.images is problem.forget else "R" for w in e.walks] for e in plan]
    assert turns == [["F", "R"], ["F", "R"], ["R"], ["R"]]
    assert not any(epoch.interleaved for epoch in plan)
    assert not plan[0].walks[0].batch_statistics


def test_max_steps_climb_the_divergence_that_min_steps_descend() -> None:
    problem = toy_problem(mlp)
    student = toy_problem(mlp, seed=5).model
    method = Scrub(alpha=0.7, gamma=0.4, temperature=2.0)
    leave, stay = method._losses(problem.copy_model().eval())
    batch = _whole(problem, "retain")

    def divergence(images: Tensor) -> float:
        total = 0.0
        for x in images:
            old = (problem.model(x[None])[0] / 2).softmax(0).tolist()
            new = (student(x[None])[0] / 2).softmax(0).tolist()
            total += sum(p * math.log(p / q) for p, q in zip(old, new, strict=True) if p > 0)
        return 4 * total / len(images)

    expected = divergence(batch.images)
    assert float(leave(student, batch).detach()) == pytest.approx(-expected, rel=1e-3)
    supervised = float(functional.cross_entropy(student(batch.images), batch.labels).detach())
    stays = float(stay(student, batch).detach())
    assert stays == pytest.approx(0.7 * expected + 0.4 * supervised, rel=1e-3)


def test_the_error_is_weighted_as_the_forget_set_is() -> None:
    problem = toy_problem(scope="mixed")
    shares = {int(label): 0 for label in problem.forget.labels}
    for label in problem.forget.labels.tolist():
        shares[label] += 1
    model = toy_problem(seed=9).model
    logits = extract(model, problem.holdout, problem.classifier).logits
    expected = 0.0
    for label, count in shares.items():
        own = problem.holdout.labels == label
        wrong = float((logits[own].argmax(1) != label).float().mean())
        expected += wrong * count / len(problem.forget)
    assert matched_error(model, problem.holdout, problem) == pytest.approx(expected)


def test_the_nearest_round_wins_and_the_later_of_two() -> None:
    assert nearest_round([0.0, 0.4, 0.9], 0.5) == 1
    assert nearest_round([0.2, 0.4, 0.4], 0.5) == 2


def test_rewinding_brings_back_the_weights_of_a_round() -> None:
    problem = toy_problem()
    model = problem.copy_model().eval()
    history = _History(model, problem)
    history.keep()
    with torch.no_grad():
        model.get_submodule(problem.classifier).bias[2] = -1e3  # type: ignore[operator]
    history.keep()
    history.errors[-1] = 0.5
    back = history.rewound().state_dict()
    assert len(history.errors) == 3
    wanted = history.kept[
        nearest_round(history.errors, matched_error(model, problem.holdout, problem))
    ]
    assert all(torch.equal(back[name], wanted[name]) for name in wanted)


def test_rewound_models_err_less_on_single_samples_than_scrubbed_ones() -> None:
    problem = toy_problem(scope="instance")
    hard = {"epochs": 3, "max_epochs": 3, "relative_max_lr": 8.0}
    scrubbed, rewound = (
        Scrub(**hard, rewind=rewind)(problem)  # type: ignore[arg-type]
        for rewind in (False, True)
    )
    reference = matched_error(scrubbed, problem.holdout, problem)
    distances = [
        abs(matched_error(model, problem.forget, problem) - reference)
        for model in (scrubbed, rewound)
    ]
    assert distances[1] <= distances[0]


def test_rewinding_asks_for_hold_out_samples_of_the_class() -> None:
    problem = toy_problem()
    kept = (problem.holdout.labels != 2).nonzero()[:, 0]
    lacking = replace(problem, holdout=problem.holdout.subset(kept))
    with pytest.raises(InvalidProblem, match="hold-out samples of class 2: add some"):
        Scrub(rewind=True)(lacking)
