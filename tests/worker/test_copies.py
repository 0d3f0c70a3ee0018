"""The search for copies as a job does it: positions of R and the hold-out, by forget set."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from service.storage import digest_file
from tests.worker.installation import ARCHITECTURE, CLASSES, TRAIN, write_images, write_weights
from unlearning.audit import Policy
from unlearning.progress import Progress
from unlearning.weights import save_weights
from worker.execution import copies, execute
from worker.execution.context import Execution
from worker.packaging import write_samples

FORGOTTEN = (0, 4, 8)
RECODED, NOISY, MIRRORED, HELD_OUT = 5, 10, 13, 50
SIDE = 12
KWARGS = {"in_features": SIDE * SIDE, "hidden": [8]}


def ignore(progress: Progress) -> None:
    assert progress.step <= progress.total


def role_of(number: int) -> str:
    if number >= TRAIN:
        return "holdout"
    return "forget" if number in FORGOTTEN else "retain"


def encoded(pixels: np.ndarray[Any, np.dtype[np.uint8]], form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def write_pictures(folder: Path) -> list[tuple[int, int, str, str, int, str]]:
    """Write smooth random images with planted copies of 0 and 4, and return the job's rows."""
    rows = write_images(folder)
    draws = np.random.default_rng(7)

    def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
        coarse = draws.integers(0, 256, (4, 4), dtype=np.uint8)
        large = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return np.asarray(large, dtype=np.uint8)

    pictures = [picture() for _ in rows]
    noise = draws.integers(-2, 3, (SIDE, SIDE))
    pictures[RECODED] = pictures[0]
    pictures[NOISY] = np.clip(pictures[4].astype(int) + noise, 0, 255).astype(np.uint8)
    pictures[MIRRORED] = pictures[0][:, ::-1].copy()
    pictures[HELD_OUT] = pictures[4]
    made = []
    for number, (row, pixels) in enumerate(zip(rows, pictures, strict=True)):
        path = folder / row.uri
        path.write_bytes(encoded(pixels, "BMP" if number == RECODED else "PNG"))
        made.append((number, number, row.uri, digest_file(path), row.label, role_of(number)))
    return made


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """An audit job's specification as far as the search needs it, of two requests."""
    for name in ("work", "cache"):
        (tmp_path / name).mkdir()
    write_samples(write_pictures(tmp_path / "data"), tmp_path / "work" / "samples.arrow")
    base = write_weights(tmp_path / "base.safetensors", ARCHITECTURE, **KWARGS)
    preprocessing = {"mean": [0.5], "std": [0.25], "size": [SIDE, SIDE], "channels": 1}
    return {
        "kind": "audit",
        "job_id": "0",
        "attempt": 1,
        "workdir": str(tmp_path / "work"),
        "threads": 1,
        "device": "cpu",
        "samples": str(tmp_path / "work" / "samples.arrow"),
        "data_root": str(tmp_path / "data"),
        "model": {
            "architecture": ARCHITECTURE,
            "kwargs": KWARGS,
            "classifier": "head",
            "num_classes": CLASSES,
            "preprocessing": preprocessing,
        },
        "recipe": {"epochs": 1, "batch_size": 16, "shift": 0},
        "original": str(base),
        "original_sha256": digest_file(base),
        "forget_sets": {"first": [0, 8], "second": [4]},
        "cache_dir": str(tmp_path / "cache"),
    }


EXPECTED = {
    "first": {"byte_equal": [RECODED], "near": [MIRRORED]},
    "second": {"byte_equal": [HELD_OUT], "near": [NOISY]},
}


def search(spec: dict[str, Any]) -> dict[str, Any]:
    return copies.search(Execution(spec, ignore))["near_duplicates"]


def test_every_forget_set_gets_its_own_copies(spec: dict[str, Any]) -> None:
    assert search(spec) == EXPECTED


def test_a_copy_of_a_sample_erased_earlier_is_not_named(spec: dict[str, Any]) -> None:
    """Sample 4 is in E from before: its noisy copy in R is that request's, not this one's."""
    assert search(spec | {"forget_sets": {"only": [8]}}) == {"only": {"byte_equal": [], "near": []}}


def test_the_answer_is_kept_for_the_same_weights_samples_and_sets(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    search(spec)
    [kept] = Path(spec["cache_dir"]).glob("copies-*.json")
    assert json.loads(kept.read_text()) == EXPECTED
    monkeypatch.setattr(copies, "_search", lambda *_: {"again": {}})
    assert search(spec) == EXPECTED
    for changes in (
        {"forget_sets": {"first": [0]}},
        {"original_sha256": "0" * 64},
        {"model": spec["model"] | {"preprocessing": {"mean": [0.4]}}},
        {"cache_dir": None},
    ):
        assert search(spec | changes) == {"again": {}}


def test_weights_that_give_no_usable_features_do_not_stop_the_search(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    execution = Execution(spec, ignore)
    model = execution.load(spec["original"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    save_weights(model, tmp_path / "silent.safetensors", {})
    assert search(spec | {"original": str(tmp_path / "silent.safetensors")}) == EXPECTED


def audited(spec: dict[str, Any]) -> dict[str, Any]:
    policy = Policy.standard().to_dict() | {"looks": [3]}
    return {
        "candidate": spec["original"],
        "candidate_sha256": spec["original_sha256"],
        "references": [
            {"seed": seed, "path": spec["original"], "sha256": f"{seed:064x}", "seconds": 1.0}
            for seed in range(3)
        ],
        "erased": list(FORGOTTEN),
        "policy": policy,
        "look": 1,
    }


@pytest.mark.parametrize("level", ["references", "none"])
def test_audit_jobs_answer_with_the_copies_at_every_level(spec: dict[str, Any], level: str) -> None:
    order = audited(spec) | {"kind": "audit", "level": level}
    if level == "none":
        order["references"] = []
    assert execute(spec | order, ignore)["near_duplicates"] == EXPECTED
