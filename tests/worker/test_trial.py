"""A trial erasure in this process, on the tiny data set."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.storage import digest_file
from tests.worker.installation import (
    ARCHITECTURE,
    CLASSES,
    KWARGS,
    PREPROCESSING,
    TRAIN,
    write_images,
    write_weights,
)
from unlearning.audit import Policy
from unlearning.errors import NonFiniteLoss
from unlearning.methods import FineTune
from unlearning.problem import Problem
from unlearning.progress import Progress
from worker.errors import UsageFailure
from worker.execution import execute
from worker.packaging import write_samples

PLANTED = (0, 4, 8, 12)
SEEDS = [31, 32, 33]


POLICY = Policy.standard().to_dict()
SPEC = {
    "kind": "trial",
    "job_id": "0",
    "attempt": 1,
    "threads": 1,
    "device": "cpu",
    "model": {
        "architecture": ARCHITECTURE,
        "kwargs": KWARGS,
        "classifier": "head",
        "num_classes": CLASSES,
        "preprocessing": PREPROCESSING,
    },
    "recipe": {"epochs": 3, "batch_size": 16, "shift": 0, "peak_lr": 0.3},
    "cache_dir": None,
    "trial": "t",
    "method": "finetune",
    "hyperparameters": {},
    "seed": 3,
    "original_seed": 30,
    "reference_seeds": SEEDS,
    "policy": POLICY
    | {"looks": [3], "relearning": POLICY["relearning"] | {"cap": 3, "references": 1}},
    "look": 1,
}


def ignore(progress: Progress) -> None:
    assert progress.step <= progress.total


def spec_of(tmp_path: Path, kind: str) -> dict[str, Any]:
    """Leave class 0 out, or plant four samples."""
    workdir = tmp_path / "work"
    workdir.mkdir()
    images = write_images(tmp_path / "data")
    base = write_weights(tmp_path / "base.safetensors")
    forget = set(range(0, TRAIN, 3)) if kind == "class" else set(PLANTED)
    rows = [
        (
            *(number, number, row.uri, row.sha256, row.label),
            "holdout" if number >= TRAIN else "forget" if number in forget else "retain",
        )
        for number, row in enumerate(images)
    ]
    write_samples(rows, workdir / "samples.arrow")
    original = {"original": str(base), "original_sha256": digest_file(base)}
    return {
        **SPEC,
        "workdir": str(workdir),
        "samples": str(workdir / "samples.arrow"),
        "data_root": str(tmp_path / "data"),
        "trial_kind": kind,
        **(original if kind == "class" else {}),
    }


@pytest.mark.parametrize("kind", ["class", "mislabelled"])
def test_a_trial_audits_its_candidate_and_publishes_nothing(tmp_path: Path, kind: str) -> None:
    spec = spec_of(tmp_path, kind)
    result = execute(spec, ignore)
    assert result["audits"]["t"]["verdict"] in {"PASS", "FAIL", "INCONCLUSIVE", "NOTHING_TO_REMOVE"}
    assert result["audits"]["t"]["reasons"]
    assert [entry["seed"] for entry in result["references"]] == SEEDS
    assert len({entry["sha256"] for entry in result["references"]}) == 3
    assert result["method"]["name"] == "finetune"
    assert result["method"]["hyperparameters"]["epochs"] == 5
    assert result["artifacts"] == {}
    json.dumps(result, allow_nan=False)


def test_an_untouched_candidate_is_seen_to_have_learnt_planted_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Problem] = []

    def keep(_self: FineTune, problem: Problem) -> object:
        seen.append(problem)
        return problem.copy_model()

    monkeypatch.setattr(FineTune, "__call__", keep)
    result = execute(spec_of(tmp_path, "mislabelled"), ignore)
    (problem,) = seen
    true = [number % CLASSES for number in PLANTED]
    assert all(a != b for a, b in zip(problem.forget.labels.tolist(), true, strict=True))
    assert problem.scope == "instance"
    assert (len(problem.retain), len(problem.forget)) == (TRAIN - len(PLANTED), len(PLANTED))
    assert result["audits"]["t"]["verdict"] != "PASS"


def test_a_trial_is_the_same_again_for_the_same_seeds(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "mislabelled")
    first, second = (execute(spec, ignore) for _ in range(2))
    assert first["audits"] == second["audits"]
    digests = [[entry["sha256"] for entry in r["references"]] for r in (first, second)]
    assert digests[0] == digests[1]


def test_a_method_that_diverges_has_failed_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(_self: FineTune, _problem: Problem) -> None:
        raise NonFiniteLoss("The loss became infinite.")

    monkeypatch.setattr(FineTune, "__call__", diverge)
    result = execute(spec_of(tmp_path, "class"), ignore)
    assert result["audits"]["t"]["verdict"] == "FAIL"
    assert result["audits"]["t"]["reasons"] == ["The loss became infinite."]
    assert result["references"] == []


def test_progress_covers_original_method_references_and_audit_and_only_grows(
    tmp_path: Path,
) -> None:
    told: list[Progress] = []
    execute(spec_of(tmp_path, "mislabelled"), told.append)
    shares = [progress.step / progress.total for progress in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {progress.total for progress in told} == {(3 + 3) * 100}
    assert told[0].detail == "the original"


@pytest.mark.parametrize(
    "changes", [{"recipe": None}, {"method": "magic"}, {"hyperparameters": {"no": 1}}]
)
def test_what_cannot_be_tried_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageFailure):
        execute(spec_of(tmp_path, "class") | changes, ignore)
