"""Artifacts: only what a child really made, inside its folder, is published."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from service.storage import Storage
from worker.publishing import ArtifactRefused, publish_artifacts

CONTENT = b"weights"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "w.safetensors").write_bytes(CONTENT)
    return folder


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage((tmp_path / "storage").as_uri())


def entry(**changes: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    values = {
        "path": "w.safetensors",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "media_type": "application/vnd.safetensors",
        "size": len(CONTENT),
    }
    return {"candidate": values | changes}


def test_an_artifact_lies_in_the_storage_under_its_digest(workdir: Path, storage: Storage) -> None:
    published = publish_artifacts(entry(), workdir, storage)["candidate"]
    assert "path" not in published
    assert storage.read_bytes(published["uri"]) == CONTENT


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": hashlib.sha256(b"other").hexdigest()},
        {"size": 1},
        {"path": "nothing.safetensors"},
        {"path": "../secret"},
        {"path": "link"},
        {"path": "pipe"},
        {"path": "."},
        {"media_type": "text/html"},
    ],
)
def test_anything_else_is_refused_and_nothing_is_published(
    workdir: Path, storage: Storage, changes: dict[str, Any]
) -> None:
    import os

    secret = workdir.parent / "secret"
    secret.write_bytes(CONTENT)
    (workdir / "link").symlink_to(workdir / "w.safetensors")
    os.mkfifo(workdir / "pipe")
    with pytest.raises(ArtifactRefused):
        publish_artifacts(entry() | {"second": entry(**changes)["candidate"]}, workdir, storage)
    assert not storage.exists(
        f"sha256/{entry()['candidate']['sha256'][:2]}/{entry()['candidate']['sha256']}"
    )


def test_a_name_that_could_be_a_path_is_refused(workdir: Path, storage: Storage) -> None:
    with pytest.raises(ArtifactRefused):
        publish_artifacts({"../x": entry()["candidate"]}, workdir, storage)
