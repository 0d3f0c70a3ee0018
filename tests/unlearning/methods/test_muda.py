"""In which order MUDA forgets and recovers, and that it looks at the student as it goes."""

import pytest
import torch
from torch import Tensor

from unlearning.methods import Muda
from unlearning.methods.geometry import RetainGeometry
from unlearning.recipe import Recipe
from unlearning.testing import toy_problem
from unlearning.training import Batch, Walk, _Stepper

RECIPE = Recipe(epochs=10, batch_size=16, peak_lr=0.05, shift=0)


def _steps(method: Muda, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the steps in order: f for forgetting, r for recovery."""
    problem, take, taken = toy_problem(recipe=RECIPE), _Stepper.step, list[str]()

    def noted(stepper: _Stepper, walk: Walk, batch: Batch) -> None:
        taken.append("r" if walk.batch_statistics else "f")
        take(stepper, walk, batch)

    monkeypatch.setattr(_Stepper, "step", noted)
    method(problem)
    return "".join(taken)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (Muda(relative_tail_epochs=0.2), "ff rrrrr rrrrr rrrrr"),
        (Muda(relative_tail_epochs=0.1, relative_lead_epochs=0.2), "rrrrr rrrrr ff rrrrr rrrrr"),
        (Muda(relative_tail_epochs=0.0, epochs=2), "ff rrrrr ff rrrrr"),
        (Muda(relative_tail_epochs=0.0, epochs=2, alternate="batch"), "rfrrrfr rfrrrfr"),
    ],
)
def test_steps_come_in_the_order_that_was_asked_for(
    method: Muda, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _steps(method, monkeypatch) == expected.replace(" ", "")


def test_each_forget_epoch_measures_the_student_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = RetainGeometry.of
    seen: list[RetainGeometry] = []

    def noted(features: Tensor, others: Tensor, k: int) -> RetainGeometry:
        seen.append(measure(features, others, k))
        return seen[-1]

    monkeypatch.setattr(RetainGeometry, "of", noted)
    Muda(epochs=3, relative_tail_epochs=0.1)(toy_problem(recipe=RECIPE))
    assert len(seen) == 3
    assert not torch.allclose(seen[0].basis, seen[1].basis)
    assert not torch.allclose(seen[1].basis, seen[2].basis)
