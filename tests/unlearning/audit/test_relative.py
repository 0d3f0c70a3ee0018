"""Figures against other models, each against a loop that leaves its own model out."""

import pytest
import torch

from unlearning.audit import relative
from unlearning.audit.measurement import Measurement
from unlearning.audit.relative import RELATIVE
from unlearning.errors import NotComputable
from unlearning.metrics.rmia import rmia_scores

MODELS, N, CROWD, CLASSES = 5, 12, 150, 3


def _models(seed: int = 0) -> list[Measurement]:
    generator = torch.Generator().manual_seed(seed)

    def share(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    models = []
    for _ in range(MODELS):
        predictions = torch.softmax(3 * share(N, CLASSES), dim=1)
        models.append(
            Measurement(
                tensors={
                    "p_y": share(N),
                    "p_y.population": share(CROWD),
                    "predictions.forget": predictions,
                    "predictions.holdout_forgotten": predictions.flip(0),
                    "holdout.class_accuracy": share(CLASSES),
                    "holdout.recognised": (share(40) > 0.5).to(torch.uint8),
                }
            )
        )
    return models


@pytest.mark.parametrize("name", list(RELATIVE))
def test_leaving_one_out_is_a_figure_against_the_others(name: str) -> None:
    models = _models()
    slow = [
        relative.figure(name, own, [other for other in models if other is not own])
        for own in models
    ]
    assert relative.left_out(name, models) == pytest.approx(slow, abs=1e-9)


def test_rmia_is_from_the_models_given_and_no_other() -> None:
    own, *others = _models()
    stacked = [torch.stack([m.tensors[k] for m in others]) for k in ("p_y", "p_y.population")]
    expected = rmia_scores(
        own.tensors["p_y"], stacked[0], own.tensors["p_y.population"], stacked[1]
    )
    assert relative.figure("attack.rmia", own, others) == pytest.approx(float(expected.mean()))
    lower, upper = relative.interval("attack.rmia", own, others) or (0, 0)
    assert 0 <= lower < float(expected.mean()) < upper <= 1


def test_rmia_tells_a_member_from_models_that_did_not_see_it() -> None:
    own, *others = _models()
    sure = Measurement(tensors={**own.tensors, "p_y": torch.ones(N, dtype=torch.float64)})
    doubtful = Measurement(tensors={**own.tensors, "p_y": torch.zeros(N, dtype=torch.float64)})
    scores = [relative.figure("attack.rmia", model, others) for model in (doubtful, own, sure)]
    assert scores == sorted(scores)
    assert scores[0] < 0.05
    assert relative.figure("attack.rmia.tpr", doubtful, others) == 0
    assert relative.interval("attack.rmia.tpr", doubtful, others) == pytest.approx(
        (0, 0.2646), abs=1e-3
    )


def test_the_worst_class_and_the_worst_tenth_are_losses_against_the_others() -> None:
    own, *others = _models()
    mean = torch.stack([m.tensors["holdout.class_accuracy"] for m in others]).mean(0)
    lost = (mean - own.tensors["holdout.class_accuracy"]).tolist()
    assert relative.figure("collateral.worst_class", own, others) == pytest.approx(max(lost))
    recognised = torch.stack([m.tensors["holdout.recognised"].double() for m in others]).mean(0)
    losses = sorted((recognised - own.tensors["holdout.recognised"]).tolist(), reverse=True)
    assert relative.figure("collateral.worst_tenth_of_samples", own, others) == pytest.approx(
        sum(losses[:4]) / 4
    )


def test_one_model_has_no_others_and_some_figures_no_interval() -> None:
    models = _models()
    with pytest.raises(NotComputable, match="two models"):
        relative.left_out("attack.rmia", models[:1])
    assert relative.interval("log_divergence.forget", models[0], models[1:]) is None
    assert relative.interval("attack.rmia", models[0], []) is None
