"""A draw asks for what its plan names, and memorisation finds what only one model knows."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from unlearning.audit import Policy
from unlearning.calibration import Bench, Draw, DrawPlan
from unlearning.calibration.draws import kept
from unlearning.calibration.hidden_head import hidden_head
from unlearning.calibration.requests import at_random, memorisation, memorised, one_class
from unlearning.data import TensorImages
from unlearning.features import extract
from unlearning.folds import split_folds
from unlearning.randomness import generator


def _made(number: int = 60) -> TensorImages:
    pixels = torch.arange(number, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return TensorImages(pixels.contiguous(), torch.arange(number) % 3, 3, [0.5], [0.5])


def _remembering(train: TensorImages) -> "object":
    """Return logits that are right for even samples always, for odd ones only when trained on."""

    def logits_of(rest: TensorImages, _fold: int) -> torch.Tensor:
        seen = set(rest.images[:, 0, 0, 0].tolist())
        logits = torch.zeros(len(train), 3)
        for row, label in enumerate(train.labels.tolist()):
            if row % 2 == 0 or row in seen:
                logits[row, label] = 20.0
        return logits

    return logits_of


def test_memorisation_is_one_for_what_only_its_own_training_tells() -> None:
    train = _made()
    scores = memorisation(train, _remembering(train), seed=4)  # type: ignore[arg-type]
    torch.testing.assert_close(scores[::2], torch.zeros(30).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(scores[1::2], torch.full((30,), 2 / 3).double(), atol=1e-6, rtol=0)


def test_memorisation_equals_the_mean_fold_by_fold() -> None:
    train = _made(30)
    draws = generator(0, "answers")
    folds = split_folds(train.labels, seed=1)
    answers = [torch.randn(30, 3, generator=draws) for _ in range(int(folds.max()) + 1)]
    scores = memorisation(train, lambda _, fold: answers[fold], seed=1)
    for row, label in enumerate(train.labels.tolist()):
        known = [float(answer.double().softmax(1)[row, label]) for answer in answers]
        strange = known.pop(int(folds[row]))
        assert float(scores[row]) == pytest.approx(sum(known) / len(known) - strange)


def test_half_of_a_memorised_request_is_drawn_at_random() -> None:
    train = _made()
    _, asked = memorised(train, generator(0), 6, _remembering(train), seed=4)  # type: ignore[arg-type]
    assert int(asked.sum()) == 12
    assert int(asked[1::2].sum()) >= 6


def test_a_random_request_asks_for_one_in_a_hundred() -> None:
    _, asked = at_random(_made(250), generator(0))
    assert int(asked.sum()) == 2


def test_a_class_request_asks_for_all_of_it() -> None:
    train, asked = one_class(_made(), 2)
    assert set(train.labels[asked].tolist()) == {2}
    assert not (train.labels[~asked] == 2).any()


def test_a_plan_may_name_its_class(blobs: Bench, policy: Policy, tmp_path: Path) -> None:
    for label in (0, 3):
        plan = DrawPlan(bench="blobs", scope="class", seed=3, label=label)
        assert set(Draw(plan, blobs, policy, tmp_path).forget.labels.tolist()) == {label}


def test_what_a_plan_leaves_to_its_defaults_is_not_in_its_json() -> None:
    plan = DrawPlan(bench="blobs", scope="class", seed=3)
    assert set(plan.to_json()) == {"bench", "scope", "seed", "originals", "retrained"}
    assert replace(plan, label=0).to_json()["label"] == 0


def test_kept_weights_are_found_again_and_give_the_same_network(
    blobs: Bench, policy: Policy, tmp_path: Path
) -> None:
    plan = DrawPlan(bench="blobs", scope="class", seed=3, originals=1)
    first = Draw(plan, blobs, policy, tmp_path, weights_dir=tmp_path / "w").originals[0]
    files = sorted((tmp_path / "w").iterdir())
    plain = Draw(plan, blobs, policy, tmp_path).originals[0]
    again = Draw(plan, blobs, policy, tmp_path, weights_dir=tmp_path / "w").originals[0]
    assert sorted((tmp_path / "w").iterdir()) == files
    for model in (plain, again):
        assert all(
            torch.equal(value, model.state_dict()[name])
            for name, value in first.state_dict().items()
        )


def test_a_file_is_trained_once(tmp_path: Path) -> None:
    trained: list[int] = []

    def train() -> nn.Module:
        trained.append(1)
        return nn.Linear(2, 2)

    path = tmp_path / "a" / "w.safetensors"
    models = [kept(path, lambda: nn.Linear(2, 2), train) for _ in range(2)]
    assert len(trained) == 1
    assert torch.equal(models[0].weight, models[1].weight)  # type: ignore[arg-type]


def test_the_hidden_head_forgets_in_its_outputs_alone(class_draw: Draw) -> None:
    problem = class_draw.problem(0)
    known = class_draw.measured_references(0)
    da, log_rho = (
        sum(entry.values[name] for entry in known) / len(known) for name in ("da", "log_rho")
    )
    model = hidden_head(problem, da, log_rho)
    seen = extract(model, problem.forget, problem.classifier)
    assert not (seen.logits.argmax(1) == problem.forget.labels).any()
    assert model.state_dict().keys() == problem.model.state_dict().keys()
    measured = class_draw.measure(model, 0).values
    original = class_draw.measure(problem.model, 0).values
    assert abs(measured["log_rho"] - log_rho) < abs(original["log_rho"] - log_rho)
