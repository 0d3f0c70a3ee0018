"""Content-addressed artifacts: a folder, or S3, GCS and Azure through fsspec.

A key is ``sha256/<first two hex digits>/<digest>``; what lies under a key never changes. The module
knows nothing of HTTP, of the database or of the file formats that it keeps.
"""

import contextlib
import hashlib
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

KEY_PATTERN = re.compile(r"sha256/(?P<prefix>[0-9a-f]{2})/(?P<digest>(?P=prefix)[0-9a-f]{62})")
_CHUNK_BYTES = 1 << 20
_TEMPORARY = "temporary"
_MODIFIED = ("mtime", "LastModified", "last_modified", "created")  # as fsspec names it
_MEDIA_TYPE_OPTIONS = {"s3": "ContentType", "s3a": "ContentType", "gs": "content_type"}


@dataclass(frozen=True)
class Stored:
    """A file in the storage: its path under the root (an artifact's key), bytes and last change.

    `modified` tells one writing from the next and is never compared with a clock.
    """

    path: str
    size: int
    modified: float


class StorageError(Exception):
    """Raise when a key is malformed, absent, or its content no longer matches it."""


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(digest: str) -> str:
    """Return the storage key of content with this SHA-256 (64 lower-case hex digits)."""
    return _checked(f"sha256/{digest[:2]}/{digest}")


def digest_of(key: str) -> str:
    """Return the SHA-256 that a storage key names."""
    return _checked(key).rpartition("/")[2]


class Storage:
    """Keep artifacts by their digest under one URL.

    Args:
        url: An fsspec URL (``file:///srv/expunge``, ``s3://bucket/prefix``) or a folder.
    """

    def __init__(self, url: str) -> None:
        self._filesystem, root = fsspec.core.url_to_fs(url)
        self._root = str(root).rstrip("/")
        protocol = self._filesystem.protocol
        self._protocols = {protocol} if isinstance(protocol, str) else set(protocol)

    @property
    def is_local(self) -> bool:
        """Say whether artifacts are plain files on this machine."""
        return "file" in self._protocols

    def put_file(self, path: Path, media_type: str) -> str:
        """Keep a copy of a file and return its key.

        The copy gets a temporary name first, so that a key never shows half a file. Content that is
        already there is marked as written now, for a collector must not take it for an old orphan;
        where that is impossible, it is written again.
        """
        key = key_of(digest_file(path))
        if self._touch(key):
            return key
        temporary = self._temporary()
        try:
            self._filesystem.put_file(str(path), temporary, **self._upload_options(media_type))
            self._publish(temporary, key)
        except BaseException:
            with contextlib.suppress(OSError):
                self._filesystem.rm_file(temporary)
            raise
        return key

    def put_bytes(self, content: bytes, media_type: str) -> str:
        """Keep these bytes and return their key."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "content"
            path.write_bytes(content)
            return self.put_file(path, media_type)

    def open(self, key: str) -> BinaryIO:
        """Open an artifact for reading; raise StorageError when it is not there."""
        try:
            return cast("BinaryIO", self._filesystem.open(self._path(key), "rb"))
        except FileNotFoundError as error:
            raise StorageError(f"{key} is not in the storage.") from error

    def read_bytes(self, key: str) -> bytes:
        """Return an artifact whole, after checking it against its key."""
        with self.open(key) as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != digest_of(key):
            raise StorageError(f"{key} has changed since it was stored.")
        return content

    def size(self, key: str) -> int:
        """Return the size of an artifact in bytes; raise StorageError when it is not there."""
        try:
            return int(self._filesystem.size(self._path(key)))
        except FileNotFoundError as error:
            raise StorageError(f"{key} is not in the storage.") from error

    def local_path(self, key: str, workdir: Path) -> Path:
        """Return a file on this machine with an artifact's content, checked against its key.

        In a folder storage that is the stored file itself: read it only. Elsewhere the artifact is
        downloaded into ``workdir``.
        """
        if self.is_local:
            path = Path(self._path(key))
            if not path.is_file():
                raise StorageError(f"{key} is not in the storage.")
        else:
            path = workdir / digest_of(key)
            with self.open(key) as source, path.open("wb") as target:
                while chunk := source.read(_CHUNK_BYTES):
                    target.write(chunk)
        if digest_file(path) != digest_of(key):
            raise StorageError(f"{key} has changed since it was stored.")
        return path

    def delete(self, key: str) -> None:
        """Remove an artifact; removing one that is not there changes nothing."""
        if self.exists(key):
            self._filesystem.rm_file(self._path(key))

    def list(self) -> Iterator[Stored]:
        """Yield every file of the storage, unfinished ones of killed writers as well."""
        if not self._filesystem.exists(self._root):
            return
        self._filesystem.invalidate_cache()
        found = self._filesystem.find(self._root, detail=True)
        for path, facts in found.items():
            inside = str(path).removeprefix(self._root).lstrip("/")
            if KEY_PATTERN.fullmatch(inside) or inside.startswith(f"{_TEMPORARY}/"):
                yield Stored(inside, int(facts["size"] or 0), self._modified(facts))

    def remove_unchanged(self, stored: Stored) -> bool:
        """Remove a file unless it was written or touched since it was listed; say if it is gone.

        In a folder the check is atomic: the file is put aside, looked at, and put back if it was
        touched. In an object store a writer between check and removal is not seen.
        """
        path = f"{self._root}/{stored.path}"
        aside = self._temporary() if self.is_local else path
        try:
            if self.is_local:
                Path(path).replace(aside)
            unchanged = self._modified(self._filesystem.info(aside)) == stored.modified
            if unchanged:
                self._filesystem.rm_file(aside)
            elif self.is_local:
                Path(aside).replace(path)
        except FileNotFoundError:
            return False
        return unchanged

    def exists(self, key: str) -> bool:
        """Say whether an artifact lies under this key."""
        return bool(self._filesystem.exists(self._path(key)))

    def _path(self, key: str) -> str:
        return f"{self._root}/{_checked(key)}"

    def _modified(self, facts: Mapping[str, Any]) -> float:
        """Return when a file was written, by the storage; object stores tell whole seconds."""
        found = next((facts[name] for name in _MODIFIED if facts.get(name) is not None), 0.0)
        moment = found.timestamp() if isinstance(found, datetime) else float(found)
        return moment if self.is_local else float(int(moment))

    def _temporary(self) -> str:
        self._filesystem.makedirs(f"{self._root}/{_TEMPORARY}", exist_ok=True)
        return f"{self._root}/{_TEMPORARY}/{uuid.uuid4().hex}"

    def _touch(self, key: str) -> bool:
        """Mark stored content as written now; False where it is not there, or cannot be marked."""
        if not self.is_local:
            return False
        try:
            os.utime(self._path(key))
        except FileNotFoundError:
            return False
        return True

    def _publish(self, temporary: str, key: str) -> None:
        target = self._path(key)
        self._filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
        if self.is_local:
            with Path(temporary).open("rb") as file:  # a power cut must not leave an empty artifact
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        else:
            self._filesystem.mv(temporary, target)

    def _upload_options(self, media_type: str) -> dict[str, str]:
        names = [_MEDIA_TYPE_OPTIONS[name] for name in self._protocols & set(_MEDIA_TYPE_OPTIONS)]
        return dict.fromkeys(names, media_type)


def _checked(key: str) -> str:
    if KEY_PATTERN.fullmatch(key) is None:
        raise StorageError("A storage key reads sha256/<two hex digits>/<64 hex digits>.")
    return key
