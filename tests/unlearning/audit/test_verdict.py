"""The order of the rules, on figures made up for each of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unlearning.audit.drift import Known
from unlearning.audit.gates import matrix, vector
from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.audit.result import AuditResult, PartResult
from unlearning.audit.verdict import Evidence, judge

POLICY = Policy.standard()
PLAIN = [name for name in POLICY.gates.class_ if not name.startswith("log_divergence")]
CENTRE = dict(zip(PLAIN, [0.7, -1.0, 0.92, 0.87, 0.45, -0.3], strict=True))
ORIGINAL = dict(zip(PLAIN, [0.3, 0.7, 0.97, 0.96, 0.4, 0.05], strict=True))
USEFUL = {"ok": True, "holdout_retained": {"ok": True}, "worst_class": {"ok": True}}
FAITHFUL = {"ok": True, "margin": 0.02}


def _model(towards: float, seed: int, spread: float = 0.04) -> Measurement:
    """Return a model at ``towards`` between references (0) and original (1), with noise."""
    rng = np.random.default_rng(seed)
    values = {
        name: CENTRE[name] + towards * (ORIGINAL[name] - CENTRE[name]) + spread * rng.normal()
        for name in PLAIN
    }
    logits = rng.normal(size=(30, 5))
    logits[:, 0] += 8 * max(towards, 0)
    prediction = torch.softmax(torch.from_numpy(logits), dim=1)
    return Measurement(
        values=values,
        tensors={"predictions.forget": prediction, "predictions.holdout_forgotten": prediction},
    )


def _evidence(candidate: Measurement, **changes: object) -> Evidence:
    original = _model(1, 500, spread=0)
    evidence = Evidence(
        scope="class",
        n=30,
        policy=POLICY,
        original=original,
        candidate=candidate,
        references=[_model(0, seed) for seed in range(19)],
        controls={"untouched": original},
        utility=USEFUL,
        fidelity=FAITHFUL,
        next_look=39,
    )
    return replace(evidence, **changes)  # type: ignore[arg-type]  # each test names its own fields


CENTRAL = _model(0, 900, spread=0.01)


def test_a_model_among_the_references_passes() -> None:
    result = judge(_evidence(CENTRAL))
    assert (result.verdict, result.direction) == ("PASS", None)
    assert "no stranger among 19 models" in result.reasons[0]


@pytest.mark.parametrize(
    ("towards", "direction"),
    [(1.0, "under-forgotten"), (0.6, "under-forgotten"), (-0.6, "over-forgotten")],
)
def test_a_stranger_fails_and_is_told_its_direction(towards: float, direction: str) -> None:
    result = judge(_evidence(_model(towards, 901)))
    assert (result.verdict, result.direction) == ("FAIL", direction)


def test_a_stranger_off_the_axis_fails_elsewhere() -> None:
    odd = replace(CENTRAL, values=CENTRAL.values | {"stage.da": 1.5})
    result = judge(_evidence(odd))
    assert (result.verdict, result.direction) == ("FAIL", "elsewhere")
    assert "before the last stage" in result.reasons[0]


def test_lost_accuracy_fails_though_nothing_else_is_odd() -> None:
    lost = {"ok": False, "candidate": 0.8, "limit": 0.9}
    utility = {"ok": False, "holdout_retained": lost, "worst_class": {"ok": True}}
    result = judge(_evidence(CENTRAL, utility=utility))
    assert (result.verdict, result.direction) == ("FAIL", "elsewhere")
    assert "80.0%" in result.reasons[0]


def test_an_unfaithful_recipe_decides_nothing() -> None:
    gap = {"difference": 0.05}
    fidelity = {"ok": False, "margin": 0.02, "retain": gap, "holdout": gap}
    result = judge(_evidence(CENTRAL, fidelity=fidelity))
    assert result.verdict == "INCONCLUSIVE"
    assert "recipe" in result.reasons[0]


def test_an_unnoticed_control_decides_nothing() -> None:
    result = judge(_evidence(CENTRAL, controls={"head_masked": _model(0, 3)}))
    assert result.verdict == "INCONCLUSIVE"
    assert "no power" in result.reasons[0]
    assert "39 references" in result.reasons[0]


def test_a_control_that_could_not_be_scored_decides_nothing() -> None:
    assert judge(_evidence(CENTRAL, controls={"untouched": Measurement()})).verdict == (
        "INCONCLUSIVE"
    )


def test_an_obstacle_comes_before_everything() -> None:
    result = judge(_evidence(_model(1, 902), obstacles=("the data are odd",)))
    assert (result.verdict, result.reasons) == ("INCONCLUSIVE", ("the data are odd",))


def test_a_candidate_without_a_figure_of_the_references_never_passes() -> None:
    values = {name: value for name, value in CENTRAL.values.items() if name != "nmi"}
    result = judge(_evidence(replace(CENTRAL, values=values, missing={"nmi": "it has no value"})))
    assert result.verdict == "INCONCLUSIVE"
    assert "it has no value" in result.reasons[0]


def test_a_figure_that_the_original_lacks_is_dropped_and_named() -> None:
    original = _model(1, 500, spread=0)
    del original.values["stage.da"]
    original.missing["stage.da"] = "no stage"
    result = judge(_evidence(CENTRAL, original=original, controls={"untouched": original}))
    assert "stage.da" not in result.gates
    assert [(entry.name, entry.why) for entry in result.dropped] == [("stage.da", "no stage")]


def test_too_few_figures_decide_nothing() -> None:
    original = Measurement(values={"da": 0.3, "log_rho": 0.7})
    result = judge(_evidence(CENTRAL, original=original))
    assert result.verdict == "INCONCLUSIVE"
    assert "More than half" in result.reasons[0]


def test_an_original_like_the_references_leaves_nothing_to_remove() -> None:
    original = _mean_of_references()
    result = judge(_evidence(original, original=original))
    assert result.verdict == "NOTHING_TO_REMOVE"


def test_an_earlier_erasure_that_shows_forbids_to_say_nothing_to_remove() -> None:
    original, references = _mean_of_references(), [_model(0, seed) for seed in range(19)]

    known = Known(
        scope="class",
        n=90,
        original=_model(1, 500, spread=0),
        candidate=original,
        references=references,
    )
    result = judge(_evidence(original, original=original, erased=[known]))
    assert result.verdict == "INCONCLUSIVE"


def test_a_bound_above_the_limit_asks_for_the_next_look() -> None:
    strict = replace(POLICY, limit=0.001)
    result = judge(_evidence(CENTRAL, policy=strict))
    assert result.verdict == "INCONCLUSIVE"
    assert "policy allows 0 %" in result.reasons[0]


def test_the_second_look_leaves_the_joint_test_and_narrows_the_bound() -> None:
    first = judge(_evidence(CENTRAL))
    more = [_model(0, seed) for seed in range(39)]
    second = judge(_evidence(CENTRAL, references=more))
    assert first.joint_test == second.joint_test
    assert second.influence is not None
    assert second.influence != first.influence


def test_the_worst_part_decides() -> None:
    parts = [
        PartResult(scope="class", n=1, verdict=verdict)
        for verdict in ("PASS", "FAIL", "INCONCLUSIVE", "NOTHING_TO_REMOVE")
    ]
    for count, verdict in ((1, "PASS"), (2, "FAIL"), (4, "FAIL")):
        result = AuditResult(
            scope="mixed",
            parts=tuple(parts[:count]),
            policy={},
            look=1,
            num_references=19,
            counts={},
            forgotten_classes=(),
            utility={},
            fidelity={},
            collateral=(),
        )
        assert result.verdict == verdict


def _mean_of_references() -> Measurement:
    """Return a model with the references' mean figures and as distinct predictions as theirs."""
    references = [_model(0, seed) for seed in range(19)]
    values = {name: float(np.mean([m.values[name] for m in references])) for name in PLAIN}
    names = ("log_divergence.forget",)
    theirs = matrix(names, references)
    strangers = (_model(0, seed) for seed in range(1000, 1200))
    typical = next(
        model
        for model in strangers
        if abs(vector(names, model, references)[0] - theirs.mean()) < 0.5 * theirs.std()
    )
    return replace(typical, values=values)
