"""Artifacts are kept by digest: published whole, never changed, never outside the storage."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.storage import Storage, StorageError, digest_of, key_of


@pytest.fixture(params=["folder", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Return an empty storage of each kind."""
    if request.param == "folder":
        return Storage(tmp_path.as_uri() + "/storage")
    return Storage(f"memory://{tmp_path.name}")


def test_a_file_is_kept_under_its_digest(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    key = storage.put_file(path, "application/octet-stream")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert key == f"sha256/{digest[:2]}/{digest}"
    assert digest_of(key) == digest
    assert (storage.size(key), storage.read_bytes(key)) == (7, b"weights")
    assert storage.put_bytes(b"weights", "text/plain") == key
    workdir = tmp_path / "work"
    workdir.mkdir()
    assert storage.local_path(key, workdir).read_bytes() == b"weights"


def test_nothing_temporary_is_left(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.put_bytes(b"x", "text/plain")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [
        hashlib.sha256(b"x").hexdigest()
    ]


def test_deleting_twice_is_no_error(storage: Storage) -> None:
    key = storage.put_bytes(b"x", "text/plain")
    storage.delete(key)
    storage.delete(key)
    assert not storage.exists(key)
    for read in (storage.open, storage.size, storage.read_bytes):
        with pytest.raises(StorageError):
            read(key)


def test_content_that_has_changed_is_noticed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    key = storage.put_bytes(b"weights", "text/plain")
    (tmp_path / key).write_bytes(b"Weights")
    with pytest.raises(StorageError, match="changed"):
        storage.read_bytes(key)
    with pytest.raises(StorageError, match="changed"):
        storage.local_path(key, tmp_path)


@given(st.text(max_size=80))
def test_no_other_text_is_a_key(text: str) -> None:
    storage = Storage("memory://keys")
    if text != key_of("0" * 64):
        with pytest.raises(StorageError):
            storage.exists(text)


@pytest.mark.parametrize("key", ["../x", "sha256/../../etc/passwd", f"sha256/11/{'0' * 64}"])
def test_a_key_that_climbs_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(StorageError):
        Storage(str(tmp_path)).open(key)
