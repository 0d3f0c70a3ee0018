"""A draw is what its plan says, and nothing that must be forgotten trains a reference."""

from pathlib import Path
from typing import cast

import pytest
import torch

from unlearning.audit import Policy
from unlearning.calibration import Bench, Draw, DrawPlan, digits, run_draw
from unlearning.calibration.disguises import ascended, cooled, forgotten_logit_lowered
from unlearning.calibration.requests import NUM_ASKED, NUM_WRONG
from unlearning.calibration.suspects import RETRAINED, SUSPECTS
from unlearning.data import TensorImages
from unlearning.features import extract


def _rows(images: TensorImages) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.images}


def test_equal_plans_give_equal_draws_and_another_seed_another(
    class_draw: Draw, blobs: Bench, policy: Policy, tmp_path: Path
) -> None:
    again = Draw(class_draw.plan, blobs, policy, tmp_path)
    assert torch.equal(again.forget.images, class_draw.forget.images)
    first, second = class_draw.references[0].state_dict(), again.references[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    plan = DrawPlan(bench="blobs", scope="class", seed=4)
    assert _rows(Draw(plan, blobs, policy, tmp_path).holdout) != _rows(class_draw.holdout)


def test_a_class_draw_forgets_a_whole_class(class_draw: Draw) -> None:
    [label] = set(class_draw.forget.labels.tolist())
    assert label not in class_draw.retain.labels
    assert _rows(class_draw.forget).isdisjoint(_rows(class_draw.retain))
    assert len(class_draw.forget) + len(class_draw.retain) == class_draw.bench.num_train


def test_an_instance_draw_forgets_half_of_the_wrong_labels(
    instance_draw: Draw, blobs: Bench
) -> None:
    true = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(blobs.images.images, blobs.images.labels, strict=True)
    }

    def wrong(images: TensorImages) -> int:
        pairs = zip(images.images, images.labels.tolist(), strict=True)
        return sum(true[image.numpy().tobytes()] != label for image, label in pairs)

    assert len(instance_draw.forget) == wrong(instance_draw.forget) == NUM_ASKED
    assert wrong(instance_draw.retain) == NUM_WRONG - NUM_ASKED
    assert wrong(instance_draw.holdout) == 0


def test_disguises_do_what_they_say(class_draw: Draw) -> None:
    problem = class_draw.problem(0)

    def logits(model: torch.nn.Module) -> torch.Tensor:
        return extract(model, problem.forget, problem.classifier).logits

    plain = logits(problem.model)
    torch.testing.assert_close(logits(cooled(problem)), plain / 2)
    [label] = problem.forgotten_classes
    lowered = logits(forgotten_logit_lowered(problem))
    assert (plain.argmax(1) == label).float().mean() > 0.9
    assert not (lowered.argmax(1) == label).any()
    kept = [column for column in range(4) if column != label]
    torch.testing.assert_close(lowered[:, kept], plain[:, kept])
    assert not (logits(ascended(problem)).argmax(1) == label).any()


def test_the_rescaled_copy_gives_the_original_s_outputs(class_draw: Draw) -> None:
    suspect = next(suspect for suspect in SUSPECTS if suspect.name == "channels_rescaled")
    problem = class_draw.problem(0)
    copy = suspect.make(class_draw, 0)
    before = extract(problem.model, problem.holdout, problem.classifier)
    after = extract(copy, problem.holdout, problem.classifier)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(after.features, before.features, rtol=0.1)


@pytest.mark.slow
def test_on_blobs_no_impostor_passes_and_a_retrain_does_not_fail(class_draw: Draw) -> None:
    outcomes = {outcome.suspect: outcome for outcome in run_draw(class_draw)}
    assert set(outcomes) == {RETRAINED, *(suspect.name for suspect in SUSPECTS)}
    assert outcomes.pop(RETRAINED).verdict != "FAIL"
    assert {outcome.verdict for outcome in outcomes.values()} <= {"FAIL", "INCONCLUSIVE"}


@pytest.mark.slow
def test_on_digits_every_impostor_fails_in_class_scope(tmp_path: Path) -> None:
    plan = DrawPlan(bench="digits", scope="class", seed=11, originals=1, retrained=0)
    draw = Draw(plan, digits(), Policy.standard(), tmp_path)
    hiding = ("untouched", "head_masked", "head_refitted", "channels_rescaled", "temperature")
    suspects = tuple(suspect for suspect in SUSPECTS if suspect.name in hiding)
    outcomes = list(run_draw(draw, suspects))
    assert {outcome.suspect: outcome.verdict for outcome in outcomes} == dict.fromkeys(
        hiding, "FAIL"
    )
    assert min(cast("float", outcome.lower) for outcome in outcomes) > 0.33
