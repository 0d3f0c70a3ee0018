"""Each kind of job, run in this process on a tiny data set."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

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
from unlearning.networks import build_network
from unlearning.progress import Progress
from unlearning.weights import load_weights
from worker.child import throttled
from worker.errors import FatalFailure, UsageFailure
from worker.execution import execute
from worker.execution.audit import data_digest
from worker.execution.context import Execution
from worker.packaging import write_samples

FORGOTTEN = (0, 4, 8)


def ignore(progress: Progress) -> None:
    assert progress.step <= progress.total


def role_of(number: int) -> str:
    if number >= TRAIN:
        return "holdout"
    return "forget" if number in FORGOTTEN else "retain"


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """What all kinds share: samples 0, 4 and 8 are to be forgotten."""
    workdir = tmp_path / "work"
    workdir.mkdir()
    images = write_images(tmp_path / "data")
    rows = [
        (number, number, row.uri, row.sha256, row.label, role_of(number))
        for number, row in enumerate(images)
    ]
    write_samples(rows, workdir / "samples.arrow")
    return {
        "job_id": "0",
        "attempt": 1,
        "workdir": str(workdir),
        "threads": 1,
        "device": "cpu",
        "samples": str(workdir / "samples.arrow"),
        "data_root": str(tmp_path / "data"),
        "model": {
            "architecture": ARCHITECTURE,
            "kwargs": KWARGS,
            "classifier": "head",
            "num_classes": CLASSES,
            "preprocessing": PREPROCESSING,
        },
        "recipe": {"epochs": 3, "batch_size": 16, "shift": 0, "peak_lr": 0.3},
        "cache_dir": None,
    }


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "base.safetensors")


def artifact(spec: dict[str, Any], result: dict[str, Any], name: str) -> Path:
    entry = result["artifacts"][name]
    path = Path(spec["workdir"], entry["path"])
    assert digest_file(path) == entry["sha256"]
    assert path.stat().st_size == entry["size"]
    return path


def test_references_are_one_network_for_each_seed(spec: dict[str, Any]) -> None:
    result = execute(spec | {"kind": "reference", "seeds": [1000, 1001]}, ignore)
    assert [entry["seed"] for entry in result["references"]] == [1000, 1001]
    digests = {digest_file(artifact(spec, result, f"reference-{s}")) for s in (1000, 1001)}
    assert len(digests) == 2
    assert all(entry["seconds"] > 0 for entry in result["references"])


def test_a_reference_is_the_same_again_for_the_same_seed(spec: dict[str, Any]) -> None:
    order = spec | {"kind": "reference", "seeds": [1000]}
    first = execute(order, ignore)["artifacts"]["reference-1000"]["sha256"]
    assert execute(order, ignore)["artifacts"]["reference-1000"]["sha256"] == first


def test_references_without_a_recipe_are_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(UsageFailure) as caught:
        execute(spec | {"kind": "reference", "seeds": [1], "recipe": None}, ignore)
    assert caught.value.code == "recipe_required"


def test_progress_over_several_references_only_grows(spec: dict[str, Any]) -> None:
    shares: list[float] = []
    execute(
        spec | {"kind": "reference", "seeds": [1, 2]},
        lambda progress: shares.append(progress.step / progress.total),
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1


def unlearning(spec: dict[str, Any], base: Path, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    order = {"kind": "unlearn", "method": "finetune", "hyperparameters": {}, "seed": 3}
    return spec | order | {"base": str(base)} | changes


def test_unlearning_makes_a_candidate_of_the_same_architecture(
    spec: dict[str, Any], base: Path
) -> None:
    result = execute(unlearning(spec, base), ignore)
    model = build_network(ARCHITECTURE, CLASSES, **KWARGS)
    load_weights(model, artifact(spec, result, "candidate"))
    assert result["method"]["name"] == "finetune"
    assert result["seed"] == 3
    named = {"torch", "python", "platform", "processor", "threads", "device", "expunge"}
    assert set(result["environment"]) == named


@pytest.mark.parametrize(
    "changes", [{"method": "magic"}, {"hyperparameters": {"no_such_thing": 1}}]
)
def test_an_unknown_method_or_hyperparameter_is_refused(
    spec: dict[str, Any], base: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UsageFailure) as caught:
        execute(unlearning(spec, base, **changes), ignore)
    assert caught.value.code == "method_not_usable"


def test_an_unknown_kind_says_that_the_worker_is_old(spec: dict[str, Any]) -> None:
    with pytest.raises(FatalFailure) as caught:
        execute(spec | {"kind": "dream"}, ignore)
    assert caught.value.code == "unknown_kind"


def test_a_gpu_that_is_not_there_is_missed(
    spec: dict[str, Any], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FatalFailure) as caught:
        execute(unlearning(spec, base, device="cuda"), ignore)
    assert caught.value.code == "no_gpu"


@pytest.fixture
def audited(spec: dict[str, Any], base: Path, tmp_path: Path) -> dict[str, Any]:
    """An audit of the base against four references, for two requests."""
    seeds = [1000, 1001, 1002, 1003]
    trained = execute(spec | {"kind": "reference", "seeds": seeds}, ignore)
    references = [
        {
            "seed": entry["seed"],
            "path": str(artifact(spec, trained, entry["artifact"])),
            "sha256": trained["artifacts"][entry["artifact"]]["sha256"],
            "seconds": entry["seconds"],
        }
        for entry in trained["references"]
    ]
    policy = Policy.standard().to_dict()
    cache = tmp_path / "cache"
    cache.mkdir()
    return spec | {
        "kind": "audit",
        "original": str(base),
        "original_sha256": digest_file(base),
        "candidate": references[0]["path"],
        "candidate_sha256": references[0]["sha256"],
        "references": references[1:],
        "forget_sets": {"first": [0, 4], "second": [8]},
        "erased": list(FORGOTTEN),
        "policy": policy
        | {"looks": [3], "relearning": policy["relearning"] | {"cap": 3, "references": 1}},
        "look": 1,
        "level": "references",
        "cache_dir": str(cache),
    }


def test_an_audit_answers_for_every_request_with_figures(audited: dict[str, Any]) -> None:
    result = execute(audited, ignore)
    assert set(result["audits"]) == set(result["figures"]) == {"first", "second"}
    assert result["audits"]["first"]["counts"]["forget"] == 2
    counts = result["audits"]["second"]["counts"]
    assert counts["forget"] + counts["erased"] == 3
    for figures in result["figures"].values():
        assert figures
        for figure in figures:
            path = artifact(audited, result, figure["artifact"])
            assert path.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("level", ["none", "qualified"])
def test_without_references_the_checks_alone_are_made_and_never_pass(
    audited: dict[str, Any], level: str
) -> None:
    result = execute(audited | {"level": level, "references": []}, ignore)
    for document in result["audits"].values():
        assert document["verdict"] in {"FAIL", "INCONCLUSIVE"}
        assert document["num_references"] == 0
        assert all(part["checks"] for part in document["parts"])
    figures = {figure["name"]: figure for figure in result["figures"]["first"]}
    assert "influence" not in figures
    shown = {row[0] for row in figures["projection"]["table"]["rows"]}
    assert shown == {"original", "new model"}


def test_measurements_are_kept_and_change_nothing(audited: dict[str, Any]) -> None:
    first = execute(audited, ignore)
    kept = sorted(Path(audited["cache_dir"]).rglob("*"))
    assert kept
    assert execute(audited, ignore)["audits"] == first["audits"]
    assert sorted(Path(audited["cache_dir"]).rglob("*")) == kept


def test_images_of_earlier_requests_may_be_gone_and_no_others(
    audited: dict[str, Any], tmp_path: Path
) -> None:
    images = write_images(tmp_path / "again")
    roles = {number: role_of(number) for number in range(len(images))} | {8: "erased"}
    rows = [
        (number, number, row.uri, row.sha256, row.label, roles[number])
        for number, row in enumerate(images)
    ]
    write_samples(rows, Path(audited["samples"]))
    spec = audited | {"forget_sets": {"first": [0, 4]}, "cache_dir": None}
    whole = execute(spec, ignore)
    assert (whole["audits"]["first"]["counts"]["erased"], whole["erased_gone"]) == (1, 0)
    erased = tmp_path / "data" / images[8].uri
    content = erased.read_bytes()
    erased.unlink()
    rest = execute(spec, ignore)
    assert (rest["audits"]["first"]["counts"]["erased"], rest["erased_gone"]) == (0, 1)
    without = data_digest(Execution(spec, ignore))
    erased.write_bytes(content)
    assert data_digest(Execution(spec, ignore)) != without
    (tmp_path / "data" / images[4].uri).unlink()
    with pytest.raises(UsageFailure, match="1 of"):
        execute(spec, ignore)


def test_the_cache_key_depends_on_every_sample(audited: dict[str, Any], tmp_path: Path) -> None:
    other = copy.deepcopy(audited)
    rows = [
        (number, number, f"{number}.png", f"{number:064x}", number % CLASSES, role_of(number))
        for number in range(TRAIN)
    ]
    write_samples(rows, tmp_path / "other.arrow")
    other["samples"] = str(tmp_path / "other.arrow")
    assert data_digest(Execution(audited, ignore)) != data_digest(Execution(other, ignore))


def test_progress_is_sent_at_most_once_a_second() -> None:
    sent: list[bytes] = []
    times = iter([10.0, 10.0, 10.0, 10.5, 11.0, 11.0])
    report = throttled(sent.append, lambda: next(times))
    for step in range(3):
        report(Progress("phase", step, 3))
    assert len(sent) == 2
    assert b'"step": 2' in sent[1]
