"""The whole audit on a world small enough to break in every way."""

import copy
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from unlearning.audit import AuditedModel, AuditResult, AuditTask, audit
from unlearning.errors import Cancelled, InvalidProblem
from unlearning.progress import CancelToken, Progress

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

FORGOTTEN = 3
ROW = {"name", "label", "n", "original", "candidate", "references"}
ROW |= {"interval", "interval_note", "gated", "note", "censored"}
DOCUMENT = {"scope", "verdict", "direction", "influence", "reasons", "policy", "look"}
DOCUMENT |= {"num_references", "counts", "forgotten_classes", "parts", "utility", "fidelity"}
DOCUMENT |= {"collateral", "curves", "drift"}
EVERYWHERE = {"weight_change.head_fraction", "gap", "streisand", "calibration.error", "rank"}
EVERYWHERE |= {"attack.population", "attack.rmia", "attack.rmia.tpr", "attack.tpr"}
EVERYWHERE |= {"attack.tpr.permille", "effective_rank.retain", "effective_rank.forget"}
EVERYWHERE |= {"collateral.worst_class", "collateral.worst_tenth_of_classes"}
EVERYWHERE |= {"collateral.worst_tenth_of_samples", "channels.silent"}


def _only(task: AuditTask) -> AuditResult:
    return audit(task)["request"]


@pytest.fixture(scope="module")
def untouched(blobs: "World") -> AuditResult:
    return _only(blobs.task(blobs.of_class(FORGOTTEN)))


def test_an_untouched_original_never_passes(untouched: AuditResult) -> None:
    assert untouched.verdict in {"FAIL", "INCONCLUSIVE"}
    assert untouched.influence is not None
    assert untouched.influence.value == pytest.approx(1)
    assert untouched.reasons


def test_the_document_has_every_key_of_the_contract_and_is_plain_json(
    untouched: AuditResult,
) -> None:
    document = untouched.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == DOCUMENT
    (part,) = document["parts"]
    assert (document["scope"], part["scope"], document["forgotten_classes"]) == (
        "class",
        "class",
        [FORGOTTEN],
    )
    counts = {"forget": 60, "retain": 180, "holdout": 120, "erased": 0, "overlap": 0}
    assert document["counts"] == counts
    for row in part["metrics"]:
        assert set(row) == ROW
        assert row["label"] != row["name"]
        assert row["interval"] or row["interval_note"]
    assert EVERYWHERE | {"relearn.steps", "f1.forgotten"} <= {
        row["name"] for row in part["metrics"]
    }
    assert set(document["curves"]["sweep"]) == {"k", "original", "candidate", "reference"}
    attack = document["curves"]["attack"]
    assert attack["num_references"] == 7
    assert all(low <= high for low, high in zip(attack["low"], attack["high"], strict=True))
    assert len(attack["rates"]) == len(attack["original"]) == len(attack["candidate"])
    assert part["resolution"]["limit"] == 0.33
    assert {row["name"] for row in part["metrics"] if row["gated"]} == set(
        part["joint_test"]["gates"]
    ) | {entry["name"] for entry in part["joint_test"]["dropped"]}


def test_curves_show_original_candidate_and_references(untouched: AuditResult) -> None:
    curves = untouched.to_json()["curves"]
    assert len(curves["relearning"]["references"]) == 2
    assert set(curves["spectra"]["forget"]) == {"original", "candidate", "reference"}
    projection = curves["projection"]
    assert len(projection["original"]["retain"]) == 180
    assert all(len(point) == 2 for point in projection["reference"]["forget"])
    assert projection["candidate"] == projection["original"]


def test_a_retrain_keeps_little_influence(blobs: "World") -> None:
    erased = blobs.of_class(FORGOTTEN)
    result = _only(blobs.task(erased, blobs.model(erased, 1)))
    assert result.influence is not None
    assert result.influence.lower < 0.2
    assert result.utility["ok"]


def test_a_candidate_with_nan_weights_fails_and_says_why(blobs: "World") -> None:
    broken = copy.deepcopy(blobs.model((), 0))
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    result = _only(blobs.task(blobs.of_class(FORGOTTEN), broken))
    assert result.verdict in {"FAIL", "INCONCLUSIVE"}
    assert result.influence is None
    assert not result.utility["ok"]
    json.dumps(result.to_json(), allow_nan=False)


def test_a_constant_candidate_never_passes(blobs: "World") -> None:
    constant = copy.deepcopy(blobs.model((), 0))
    with torch.no_grad():
        for parameter in constant.parameters():
            parameter.zero_()
    result = _only(blobs.task(blobs.of_class(FORGOTTEN), constant))
    assert result.verdict in {"FAIL", "INCONCLUSIVE"}
    assert not result.utility["ok"]


def test_a_broken_reference_is_named_and_nothing_is_decided(blobs: "World") -> None:
    task = blobs.task(blobs.of_class(FORGOTTEN))
    broken = copy.deepcopy(task.references[0].load())
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.inf)
    references = [AuditedModel(load=lambda: broken), *task.references[1:]]
    result = _only(replace(task, references=references))
    assert result.verdict == "INCONCLUSIVE"
    assert any("Reference 1" in reason for reason in result.reasons)


def test_too_few_references_decide_nothing(blobs: "World") -> None:
    task = blobs.task(blobs.of_class(FORGOTTEN))
    for few in (0, 1, 6):
        result = _only(replace(task, references=task.references[:few]))
        assert result.verdict == "INCONCLUSIVE"
        assert f"train {7 - few} more" in result.reasons[0]
        json.dumps(result.to_json(), allow_nan=False)


def test_a_forget_set_larger_than_what_remains_decides_nothing(blobs: "World") -> None:
    erased = [i for label in (1, 2, 3) for i in blobs.of_class(label)]
    result = _only(blobs.task(erased))
    assert result.verdict == "INCONCLUSIVE"
    assert "larger than what is retained" in result.reasons[0]


def test_a_class_that_the_holdout_lacks_decides_nothing(blobs: "World") -> None:
    world = blobs.without_holdout_class(FORGOTTEN)
    erased = world.of_class(FORGOTTEN)
    result = _only(world.task(erased, world.model(erased, 1)))
    assert result.verdict == "INCONCLUSIVE"
    assert "hold-out has no sample" in result.reasons[0]
    joint = result.to_json()["parts"][0]["joint_test"]
    assert "ncc.forgotten" in {entry["name"] for entry in joint["dropped"]}


def test_single_samples_are_judged_without_a_masked_control(blobs: "World") -> None:
    result = _only(blobs.task(range(0, 40, 4)))
    (part,) = result.parts
    assert part.scope == "instance"
    assert {control.name for control in part.self_controls} == {"untouched", "channels_rescaled"}
    assert "attack.rmia" in part.gates
    names = {row["name"] for row in result.to_json()["parts"][0]["metrics"]}
    assert EVERYWHERE | {"embedding.m4", "confidence.gap"} <= names
    assert result.verdict != "PASS"
    assert result.to_json()["curves"]["relearning"] is None


def test_what_one_sample_cannot_resolve_is_said_to_be_unresolved(blobs: "World") -> None:
    result = _only(blobs.task([0]))
    resolution = result.to_json()["parts"][0]["resolution"]
    assert result.verdict == "INCONCLUSIVE"
    assert not resolution["resolved"]
    assert resolution["smallest"] > 0.33
    assert any("1 sample, the smallest remaining influence" in r for r in result.reasons)


def test_mixed_requests_are_judged_part_by_part_and_the_worst_decides(blobs: "World") -> None:
    erased = [*blobs.of_class(FORGOTTEN), *blobs.of_class(0)[:8]]
    result = _only(blobs.task(erased))
    assert result.scope == "mixed"
    assert [(part.scope, part.n) for part in result.parts] == [("class", 60), ("instance", 8)]
    severity = ["NOTHING_TO_REMOVE", "PASS", "INCONCLUSIVE", "FAIL"]
    assert result.verdict == max((part.verdict for part in result.parts), key=severity.index)


def test_several_requests_share_one_run(blobs: "World") -> None:
    erased = sorted([*blobs.of_class(FORGOTTEN), *blobs.of_class(0)[:8]])
    labels = blobs.train.labels[torch.tensor(erased)]
    whole = (labels == FORGOTTEN).nonzero().squeeze(1).tolist()
    single = (labels == 0).nonzero().squeeze(1).tolist()
    results = audit(replace(blobs.task(erased), forget_sets={"a": whole, "b": single}))
    assert [results[key].scope for key in ("a", "b")] == ["class", "instance"]
    assert results["a"].to_json()["counts"]["erased"] == 8


def test_cached_measurements_give_the_same_result_without_loading(blobs: "World") -> None:
    task = blobs.task(blobs.of_class(FORGOTTEN))
    first = _only(task).to_json()

    def refuse() -> nn.Module:
        raise AssertionError("a measured reference was loaded again")

    references = [replace(model, load=refuse) for model in task.references]
    assert _only(replace(task, references=references)).to_json() == first


def test_models_are_left_as_they_were(blobs: "World") -> None:
    before = copy.deepcopy(blobs.model((), 0).state_dict())
    _only(replace(blobs.task(blobs.of_class(FORGOTTEN)), cache_dir=None))
    after = blobs.model((), 0).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_progress_reaches_its_total(blobs: "World") -> None:
    seen: list[Progress] = []
    _only(replace(blobs.task(blobs.of_class(FORGOTTEN)), progress=seen.append))
    assert [report.step for report in seen] == list(range(1, seen[-1].total + 1))


def test_a_cancelled_audit_stops(blobs: "World") -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        _only(replace(blobs.task(blobs.of_class(FORGOTTEN)), cancel=cancel))


@pytest.mark.parametrize("positions", [[], [0, 0], [-1], [10_000]])
def test_a_senseless_forget_set_is_refused(blobs: "World", positions: list[int]) -> None:
    task = blobs.task(blobs.of_class(FORGOTTEN))
    with pytest.raises(InvalidProblem, match="distinct positions"):
        replace(task, forget_sets={"request": positions})


def test_a_look_beyond_the_policy_is_refused(blobs: "World") -> None:
    with pytest.raises(InvalidProblem, match="2 looks"):
        replace(blobs.task(blobs.of_class(FORGOTTEN)), look=3)
