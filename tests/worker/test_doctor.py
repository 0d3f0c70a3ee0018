"""The worker's half of the doctor: the device, and one draw that shows whether masks are seen."""

import json
from dataclasses import replace

import pytest
import torch

from unlearning.calibration import Outcome
from worker import doctor


def _outcome(suspect: str, verdict: str = "FAIL", lower: float | None = 0.8) -> Outcome:
    return Outcome(
        suspect=suspect,
        number=0,
        verdict=verdict,
        influence=lower,
        lower=lower,
        upper=lower,
        rejected=verdict == "FAIL",
        reasons=(),
    )


GOOD = [_outcome("retrained", "PASS", -0.1), *map(_outcome, doctor.CONTROLS)]


def test_the_cpu_works_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["device"], found["error"]) == ("cpu", None)
    assert found["torch"] == torch.__version__


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_an_error_in_words(
    capsys: pytest.CaptureFixture[str], device: str
) -> None:
    assert doctor.main(["--device", device]) == 1
    assert json.loads(capsys.readouterr().out)["error"]


def test_auto_is_a_gpu_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert doctor.describe_device("auto")["device"] == expected


def test_the_trial_is_well_when_every_control_fails_and_kept_its_influence() -> None:
    report = doctor.judge(GOOD)
    assert (report["ok"], report["retrained"]) == (True, "PASS")
    assert report["problems"] == report["warnings"] == []
    assert len(report["outcomes"]) == 5


@pytest.mark.parametrize(
    "spoilt",
    [
        _outcome("head_masked", "PASS", 0.8),
        _outcome("head_masked", "INCONCLUSIVE", 0.8),
        _outcome("head_masked", "FAIL", 0.33),
        _outcome("head_masked", "FAIL", None),
    ],
)
def test_one_control_that_slips_through_spoils_the_trial(spoilt: Outcome) -> None:
    outcomes = [spoilt if outcome.suspect == spoilt.suspect else outcome for outcome in GOOD]
    report = doctor.judge(outcomes)
    assert not report["ok"]
    [problem] = report["problems"]
    assert problem.startswith("head_masked must FAIL")


def test_a_control_that_was_not_audited_spoils_the_trial() -> None:
    assert doctor.judge(GOOD[:-1])["problems"] == ["channels_rescaled could not be made"]


def test_a_retrain_that_fails_is_only_a_warning() -> None:
    report = doctor.judge([replace(GOOD[0], verdict="FAIL"), *GOOD[1:]])
    assert report["ok"]
    assert len(report["warnings"]) == 1


@pytest.mark.slow
def test_on_digits_every_control_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--audit", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [outcome["suspect"] for outcome in report["outcomes"]] == ["retrained", *doctor.CONTROLS]
    assert {outcome["verdict"] for outcome in report["outcomes"][1:]} == {"FAIL"}
    assert min(outcome["lower"] for outcome in report["outcomes"][1:]) > doctor.LEAST_INFLUENCE
    assert report["seconds"] > 0
