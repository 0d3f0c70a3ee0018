"""Forgetting that ruins a model is taken back, and nothing else is."""

from dataclasses import replace

import torch
from torch import nn

from unlearning.data import Images
from unlearning.features import extract
from unlearning.methods import Muda
from unlearning.methods.guard import Guard, watched
from unlearning.testing import toy_problem


def _accuracy(model: nn.Module, images: Images, classifier: str) -> float:
    logits = extract(model, images, classifier).logits
    return float((logits.argmax(1) == images.labels).float().mean())


def _begin(guard: Guard) -> None:
    """Look before any forgetting, which is never given back."""
    guard.look()
    assert guard.best < 0


def test_what_validates_does_not_train() -> None:
    problem = toy_problem()
    retain, guard = watched(problem, problem.copy_model(), 0.25, 0.05)
    assert guard.images is not None
    assert len(guard.images) == round(0.25 * len(problem.retain))

    def rows(images: Images) -> list[bytes]:
        every = images.batch(torch.arange(len(images)))
        return [image.numpy().tobytes() for image in every]

    assert sorted(rows(retain) + rows(guard.images)) == sorted(rows(problem.retain))


def test_a_set_too_small_to_spare_any_trains_whole() -> None:
    problem = toy_problem()
    tiny = replace(problem, retain=problem.retain.subset(torch.arange(3)))
    retain, guard = watched(tiny, tiny.copy_model(), 0.3, 0.05)
    assert retain is tiny.retain
    guard.look()
    assert not guard.stopped


def test_a_fall_brings_the_best_weights_back_and_stops() -> None:
    problem = toy_problem()
    model = problem.copy_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    guard = Guard(model, problem.retain, max_drop=0.2)
    _begin(guard)
    guard.look()
    assert guard.best == _accuracy(problem.model, problem.retain, problem.classifier)
    assert all(module.training for module in model.modules())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    guard.look()
    assert guard.stopped
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_small_fall_changes_nothing() -> None:
    problem = toy_problem()
    model = problem.copy_model()
    guard = Guard(model, problem.retain, max_drop=1.0)
    _begin(guard)
    guard.look()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    guard.look()
    assert not guard.stopped
    assert not any(parameter.any() for parameter in model.parameters())


def test_a_first_epoch_that_ruins_is_not_taken_back_to_the_original() -> None:
    problem = toy_problem()
    model = problem.copy_model()
    guard = Guard(model, problem.retain, max_drop=0.0)
    _begin(guard)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    guard.look()
    guard.look()
    assert not guard.stopped
    assert not any(parameter.any() for parameter in model.parameters())


def test_muda_that_forgets_too_hard_is_taken_back_to_what_has_forgotten() -> None:
    problem = toy_problem()
    violent = Muda(
        keep=1.0,
        restart_last_stage=False,
        alpha=30.0,
        relative_forget_lr=3.0,
        forget_share=1.0,
        epochs=6,
        relative_tail_epochs=0.0,
        schedule="falling",
    )
    guarded = replace(violent, validation_share=0.2, max_drop=0.0)
    ruined, kept = violent(problem), guarded(problem)
    retained = torch.isin(problem.holdout.labels, torch.tensor(problem.retained_classes))
    held = problem.holdout.subset(retained.nonzero().flatten())
    assert _accuracy(ruined, held, problem.classifier) < 0.5
    assert _accuracy(kept, held, problem.classifier) > 0.8
    assert _accuracy(problem.model, problem.forget, problem.classifier) > 0.9
    assert _accuracy(kept, problem.forget, problem.classifier) < 0.1
