"""A censored count is marked, kept out of means, and gates only where most are exact."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from unlearning.audit import audit
from unlearning.audit.gates import gates_of
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import CENSORED, RELEARNING, STRICT, Policy
from unlearning.audit.relearnt import merged, row

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

FORGOTTEN = 2
CAP = 200


def _relearnt(steps: int) -> Measurement:
    capped = steps >= CAP
    return Measurement(
        values={RELEARNING: float(min(steps, CAP)), CENSORED: float(capped)},
        counts={RELEARNING: 42},
    )


def test_exact_counts_are_summarised() -> None:
    (found,) = row([_relearnt(s) for s in (5, 60, 50, 70, 60)], gated=False)
    assert found["references"] == pytest.approx(
        {"mean": 60, "sd": 10, "n": 3, "min": 50, "max": 70}
    )
    marks = found["censored"]
    assert (marks["original"], marks["candidate"]) == (False, False)
    assert marks["references"] == {"n": 3, "censored": 0, "min": 50, "median": 60}
    assert "cap" not in found["note"]


def test_a_censored_count_is_marked_and_never_averaged() -> None:
    (found,) = row([_relearnt(s) for s in (5, 999, 50, 70, 999)], gated=True)
    marks = found["censored"]
    assert (marks["original"], marks["candidate"]) == (False, True)
    assert found["references"] is None
    assert marks["references"] == {"n": 3, "censored": 1, "min": 50, "median": 70}
    assert "at least that many steps: the candidate, 1 of 3 references" in found["note"]
    assert found["gated"]


def test_nothing_is_known_of_references_that_all_stopped_at_the_cap() -> None:
    (found,) = row([_relearnt(s) for s in (5, 10, 999, 999)], gated=False)
    assert found["censored"]["references"] == {
        "n": 2,
        "censored": 2,
        "min": None,
        "median": None,
    }
    assert row([], gated=False) == []
    assert row([_relearnt(5), Measurement(failure="NaN")], gated=False) == []


@pytest.mark.parametrize(("capped", "kept"), [(0, True), (4, True), (5, False), (19, False)])
def test_relearning_gates_only_where_three_quarters_of_the_references_reach_the_target(
    capped: int, kept: bool
) -> None:
    steps = [999] * capped + [60] * (19 - capped)
    found = gates_of(Policy.strict(), "class", _relearnt(5), [_relearnt(s) for s in steps])
    assert (RELEARNING in found.kept) is kept
    named = {entry.name: entry.why for entry in found.dropped}
    assert (RELEARNING in named) is not kept
    if not kept:
        assert f"{capped} of 19 references had not relearnt after {CAP} steps" in named[RELEARNING]


def test_merging_keeps_both_sets_of_figures() -> None:
    part = Measurement(values={"da": 0.5}, counts={"da": 9}, missing={"nmi": "no"})
    found = merged(part, _relearnt(60))
    assert found.values == {"da": 0.5, RELEARNING: 60.0, CENSORED: 0.0}
    assert found.counts == {"da": 9, RELEARNING: 42}
    assert found.missing == {"nmi": "no"}


@pytest.mark.parametrize("cap", [5, 60])
def test_a_strict_audit_relearns_every_model_or_says_why_not(blobs: "World", cap: int) -> None:
    rule = {**STRICT["relearning"], "cap": cap, "references": 7}
    policy = Policy.from_dict({**STRICT, "looks": [7, 9], "relearning": rule})
    task = replace(blobs.task(blobs.of_class(FORGOTTEN)), policy=policy)
    result = audit(task)["request"]
    (part,) = result.parts
    named = {entry.name for entry in part.dropped}
    assert (RELEARNING in part.gates) != (RELEARNING in named)
    rows = {entry["name"]: entry for entry in result.to_json()["parts"][0]["metrics"]}
    assert rows[RELEARNING]["gated"]
    assert rows[RELEARNING]["censored"]["references"]["n"] == 7
    assert "attack.rmia" in part.gates
    assert {control.name for control in part.self_controls} >= {"untouched", "head_masked"}
    assert result.verdict != "PASS"


def test_a_broken_candidate_is_not_relearnt(blobs: "World") -> None:
    broken = blobs.build()
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    task = blobs.task(blobs.of_class(FORGOTTEN), broken)
    names = {row["name"] for row in audit(task)["request"].to_json()["parts"][0]["metrics"]}
    assert RELEARNING not in names
