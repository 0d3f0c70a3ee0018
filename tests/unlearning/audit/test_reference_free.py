"""Checks without references refute what only hides, and never confirm anything."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from unlearning import controls
from unlearning.audit import AuditTask, Policy
from unlearning.audit.measurement import Measurement
from unlearning.audit.reference_free import ReferenceFreeResult, check_without_references
from unlearning.audit.without_references import features_moved, head_share, utility_entry
from unlearning.problem import Problem

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

FORGOTTEN = 3


def _checked(task: AuditTask) -> ReferenceFreeResult:
    return check_without_references(replace(task, references=[]))["request"]


def _failed(result: ReferenceFreeResult) -> set[str]:
    return {check.name for checks in result.checks for check in checks if check.ok is False}


def _problem(task: AuditTask) -> Problem:
    return Problem(
        model=task.original.load(),
        forget=task.erased,
        retain=task.retain,
        holdout=task.holdout,
        classifier=task.classifier,
        num_classes=task.num_classes,
    )


def test_an_untouched_model_fails(blobs: "World") -> None:
    result = _checked(blobs.task(blobs.of_class(FORGOTTEN)))
    assert result.verdict == "FAIL"
    assert _failed(result) == {"head_fraction", "da_moved", "log_rho_moved"}


@pytest.mark.parametrize("world_name", ["blobs", "digits"])
@pytest.mark.parametrize(
    "disguise", [controls.head_masked, controls.head_refitted, controls.channels_rescaled]
)
def test_a_copy_that_only_hides_fails(
    request: pytest.FixtureRequest, world_name: str, disguise: Callable[[Problem], nn.Module]
) -> None:
    world: World = request.getfixturevalue(world_name)
    task = world.task(world.of_class(FORGOTTEN))
    result = _checked(world.task(world.of_class(FORGOTTEN), disguise(_problem(task))))
    assert result.verdict == "FAIL"
    assert {"da_moved", "log_rho_moved"} <= _failed(result)


@pytest.mark.parametrize("world_name", ["blobs", "digits"])
def test_an_honest_retrain_is_not_failed_and_not_passed_either(
    request: pytest.FixtureRequest, world_name: str
) -> None:
    world: World = request.getfixturevalue(world_name)
    erased = world.of_class(FORGOTTEN)
    for seed in (1, 2, 3):
        result = _checked(world.task(erased, world.model(erased, seed)))
        assert result.verdict == "INCONCLUSIVE", result.audit.reasons
        assert all(check.ok for checks in result.checks for check in checks)


def test_single_samples_are_checked_without_the_class_figures(blobs: "World") -> None:
    erased = [0, 5, 10, 15]
    honest = _checked(blobs.task(erased, blobs.model(erased, 1)))
    names = [check.name for check in honest.checks[0]]
    assert (honest.audit.scope, honest.verdict) == ("instance", "INCONCLUSIVE")
    assert names == ["outputs", "head_fraction", "utility", "utility_worst_class"]
    assert _failed(_checked(blobs.task(erased))) == {"head_fraction"}


def test_both_parts_of_a_mixed_forget_set_are_checked(blobs: "World") -> None:
    erased = sorted({*blobs.of_class(FORGOTTEN), 0})
    result = _checked(blobs.task(erased, blobs.model(erased, 1)))
    assert [part.scope for part in result.audit.parts] == ["class", "instance"]
    assert ["da_moved" in {c.name for c in checks} for checks in result.checks] == [True, False]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0])
def test_a_model_with_unsound_outputs_fails(blobs: "World", value: float) -> None:
    erased = blobs.of_class(FORGOTTEN)
    broken = copy.deepcopy(blobs.model(erased, 1))
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(value)
    result = _checked(blobs.task(erased, broken))
    assert result.verdict == "FAIL"
    assert "outputs" in _failed(result)
    json.dumps(result.to_json(), allow_nan=False)


def test_a_broken_original_decides_nothing(blobs: "World") -> None:
    erased = blobs.of_class(FORGOTTEN)
    task = blobs.task(erased, blobs.model(erased, 1))
    broken = copy.deepcopy(task.original.load())
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    original = replace(task.original, load=lambda: broken, digest=None)
    result = _checked(replace(task, original=original))
    assert result.verdict == "INCONCLUSIVE"
    assert [check.ok for check in result.checks[0]] == [None]
    assert "original" in result.audit.reasons[0]


def test_a_useless_model_fails_on_utility(blobs: "World") -> None:
    erased = blobs.of_class(FORGOTTEN)
    useless = copy.deepcopy(blobs.model(erased, 1))
    with torch.no_grad():
        useless.get_submodule("head").weight.neg_()  # type: ignore[operator]
    assert "utility" in _failed(_checked(blobs.task(erased, useless)))


def test_the_document_is_an_audits_with_the_checks_of_each_part(blobs: "World") -> None:
    erased = blobs.of_class(FORGOTTEN)
    document = _checked(blobs.task(erased, blobs.model(erased, 1))).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["num_references"], document["influence"]) == (0, None)
    (part,) = document["parts"]
    assert all(set(check) == {"name", "ok", "detail"} for check in part["checks"])
    assert all(row["references"] is None for row in part["metrics"])
    assert document["curves"]["projection"] is not None


def _da(value: float, reach: float) -> Measurement:
    interval = (value - reach, value + reach)
    return Measurement(
        values={"da": value}, intervals={"da": interval}, missing={"log_rho": "for a reason"}
    )


@given(st.floats(-1, 1), st.floats(0.001, 0.5), st.floats(-1, 1), st.floats(0.001, 9))
def test_a_feature_figure_has_moved_when_it_left_the_originals_interval(
    before: float, reach: float, after: float, own_reach: float
) -> None:
    moved, unknown = features_moved(_da(before, reach), _da(after, own_reach))
    assert moved.ok is (after < before - reach or after > before + reach)
    assert unknown.ok is None
    assert "for a reason" in unknown.detail


@pytest.mark.parametrize(("share", "ok"), [(0.0, True), (0.98, True), (0.99, False), (1.0, False)])
def test_a_change_of_the_last_layer_alone_speaks_against_it(share: float, ok: bool) -> None:
    assert head_share(share, None).ok is ok


def _utility(before: float, after: float, n: int) -> bool:
    names = {"accuracy.holdout_retained", "accuracy.class.0"}
    original = Measurement(values=dict.fromkeys(names, before), counts=dict.fromkeys(names, n))
    candidate = Measurement(values=dict.fromkeys(names, after), counts=dict.fromkeys(names, n))
    return bool(utility_entry(original, candidate, Policy.standard())["ok"])


def test_small_hold_outs_excuse_what_chance_explains_and_large_ones_do_not() -> None:
    assert _utility(1.0, 7 / 8, 8)
    assert not _utility(1.0, 3 / 8, 8)
    assert _utility(0.95, 0.94, 10_000)
    assert not _utility(0.95, 0.92, 10_000)
