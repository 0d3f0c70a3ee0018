"""All of E is audited beside F: many small requests add up, and genuine retrains are let be."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from unlearning.audit import audit
from unlearning.audit.drift import Drift, Known, judge_drift
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.audit.result import AuditResult, PartResult, Verdict

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

POLICY = Policy.standard()
NAMES = ("da", "log_rho", "nmi", "ncc.forgotten", "stage.da", "stage.log_rho")
FORGOTTEN = 2


def _model(towards: float, separation: float, rng: np.random.Generator) -> Measurement:
    """Return figures at ``towards`` of the way to an original that lies ``separation`` sd away."""
    figures = rng.normal(size=len(NAMES)) + towards * separation
    return Measurement(values=dict(zip(NAMES, figures.tolist(), strict=True)))


def _known(towards: float, separation: float, seed: int, references: int = 19) -> Known:
    rng = np.random.default_rng(seed)
    return Known(
        scope="class",
        n=90,
        original=_model(1, separation, rng),
        candidate=_model(towards, separation, rng),
        references=[_model(0, separation, rng) for _ in range(references)],
    )


def test_a_model_that_forgot_nothing_of_all_erased_samples_fails() -> None:
    found = judge_drift(_known(1, 20, 0), POLICY)
    assert (found.outcome, found.n) == ("FAIL", 90)
    assert "Small requests add up" in found.reason


def test_a_model_near_the_references_keeps_the_limit() -> None:
    found = judge_drift(_known(0, 20, 0), POLICY)
    assert found.outcome == "ok"
    assert found.influence is not None
    assert found.influence.upper <= POLICY.drift_limit


def test_a_model_half_way_is_not_sure_where_all_samples_resolve_it() -> None:
    outcomes = [judge_drift(_known(0.5, 12, seed), POLICY).outcome for seed in range(100)]
    # One-sided 95 % bounds: each end errs once in twenty.
    assert outcomes.count("ok") <= 12
    assert outcomes.count("INCONCLUSIVE") >= 75


@pytest.mark.parametrize("separation", [0.0, 1.0, 2.0, 4.0, 8.0, 16.0])
def test_a_genuine_retrain_is_hardly_ever_hurt_whatever_its_influence_was(
    separation: float,
) -> None:
    draws = 400
    outcomes = [judge_drift(_known(0, separation, seed), POLICY).outcome for seed in range(draws)]
    assert outcomes.count("FAIL") <= 0.02 * draws
    assert outcomes.count("INCONCLUSIVE") <= 0.07 * draws


def test_without_influence_or_references_the_drift_never_decides() -> None:
    none = _known(0, 0.0, 3)
    alike = judge_drift(replace(none, original=none.references[0]), POLICY)
    assert alike.outcome == "unresolved"
    few = judge_drift(_known(1, 20, 0, references=18), POLICY)
    assert few.outcome == "unresolved"
    assert "too few references" in few.reason
    broken = judge_drift(replace(_known(1, 20, 0), candidate=Measurement(failure="NaN")), POLICY)
    assert broken.outcome == "unresolved"


@pytest.mark.parametrize(
    ("own", "drifted", "verdict", "direction"),
    [
        ("PASS", "FAIL", "FAIL", "under-forgotten"),
        ("INCONCLUSIVE", "FAIL", "FAIL", "under-forgotten"),
        ("NOTHING_TO_REMOVE", "INCONCLUSIVE", "INCONCLUSIVE", None),
        ("PASS", "INCONCLUSIVE", "INCONCLUSIVE", None),
        ("FAIL", "FAIL", "FAIL", "elsewhere"),
        ("PASS", "ok", "PASS", None),
        ("PASS", "unresolved", "PASS", None),
    ],
)
def test_the_graver_of_the_two_decides(
    own: Verdict, drifted: str, verdict: str, direction: str | None
) -> None:
    entry = Drift(
        scope="class",
        n=90,
        limit=0.5,
        influence=None,
        outcome=drifted,  # type: ignore[arg-type]  # parametrised
        reason="of all samples together",
    )
    part = PartResult(
        scope="class",
        n=2,
        verdict=own,
        direction="elsewhere" if own == "FAIL" else None,
        reasons=("of these samples",),
    )
    result = AuditResult(
        scope="class",
        parts=(part,),
        policy={},
        look=1,
        num_references=19,
        counts={},
        forgotten_classes=(),
        utility={},
        fidelity={},
        collateral=(),
        drift=(entry,),
    )
    document = result.to_json()
    assert (document["verdict"], document["direction"]) == (verdict, direction)
    decides = verdict != own
    expected = ["of all samples together", "of these samples"] if decides else ["of these samples"]
    assert document["reasons"] == expected


def test_a_class_erased_in_slices_by_a_model_that_forgot_nothing_is_caught(blobs: "World") -> None:
    members, results = blobs.of_class(FORGOTTEN), []
    for end in (20, 40, 60):
        task = blobs.task(members[:end])
        results.append(
            audit(replace(task, forget_sets={"request": range(end - 20, end)}))["request"]
        )
    assert all(result.verdict != "PASS" for result in results)
    last = results[-1]
    assert last.verdict == "FAIL"
    assert [(entry.scope, entry.n, entry.outcome) for entry in last.drift] == [
        ("class", 60, "FAIL")
    ]
    assert last.to_json()["drift"][0]["influence"]["value"] == pytest.approx(1)


def test_all_slices_together_show_what_the_last_one_cannot(blobs: "World") -> None:
    # Twenty samples against seven references decide nothing here; all sixty do.
    task = blobs.task(blobs.of_class(1))
    last = audit(replace(task, forget_sets={"request": range(40, 60)}))["request"]
    assert last.worst.verdict == "INCONCLUSIVE"
    assert (last.verdict, last.direction) == ("FAIL", "under-forgotten")
    assert "all 60 samples" in last.reasons[0]


def test_the_last_slice_of_a_genuinely_retrained_class_is_not_held_up(blobs: "World") -> None:
    members = blobs.of_class(FORGOTTEN)
    task = blobs.task(members, blobs.model(members, 1))
    result = audit(replace(task, forget_sets={"request": range(40, 60)}))["request"]
    assert [entry.scope for entry in result.drift] == ["class"]
    assert result.drifted is None


def test_a_forget_set_that_is_all_of_e_has_no_drift_of_its_own(blobs: "World") -> None:
    assert audit(blobs.task(blobs.of_class(FORGOTTEN)))["request"].drift == ()
