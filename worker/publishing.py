"""Publish what a child made: check each artifact against what the child said, then store it."""

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Any

from service.storage import Storage, digest_of

MAX_ARTIFACTS = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_MEDIA_TYPES = frozenset({"application/vnd.safetensors", "image/svg+xml", "application/json"})


class ArtifactRefused(Exception):
    """A child's artifact is not what the child said: nothing of it is published."""


def publish_artifacts(
    artifacts: dict[str, dict[str, Any]], workdir: Path, storage: Storage
) -> dict[str, dict[str, Any]]:
    """Store every artifact and return the same entries with ``uri`` (storage key) for ``path``.

    Raises:
        ArtifactRefused: A file is missing, outside the working folder, no plain file, of a media
            type that jobs do not make, or its SHA-256 or size differs.
    """
    if len(artifacts) > MAX_ARTIFACTS:
        raise ArtifactRefused(f"The job listed more than {MAX_ARTIFACTS} artifacts.")
    for name, entry in artifacts.items():
        _check(name, entry, workdir)
    return {name: _publish(entry, workdir, storage) for name, entry in artifacts.items()}


def _publish(entry: dict[str, Any], workdir: Path, storage: Storage) -> dict[str, Any]:
    key = storage.put_file(workdir / entry["path"], entry["media_type"])
    if digest_of(key) != entry["sha256"]:
        raise ArtifactRefused("An artifact changed while it was published.")
    kept = {name: entry[name] for name in ("sha256", "media_type", "size")}
    return kept | {"uri": key}


def _check(name: str, entry: dict[str, Any], workdir: Path) -> None:
    """Compare one file with its entry; the file is opened without following a link."""
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise ArtifactRefused("The job listed an artifact without a path.")
    if _NAME.fullmatch(name) is None or entry.get("media_type") not in _MEDIA_TYPES:
        raise ArtifactRefused("The job listed an artifact of an unknown name or media type.")
    path = workdir / entry["path"]
    try:
        if not path.resolve().is_relative_to(workdir.resolve()):
            raise ArtifactRefused("The job listed an artifact outside its working folder.")
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            plain = stat.S_ISREG(status.st_mode)
            digest = hashlib.file_digest(file, "sha256").hexdigest() if plain else None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ArtifactRefused("The job listed an artifact that is not there.") from error
    if digest != entry.get("sha256") or status.st_size != entry.get("size"):
        raise ArtifactRefused("An artifact differs from what the job said about it.")
