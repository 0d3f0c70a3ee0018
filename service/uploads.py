"""Take weights and manifests in: from a path under a data root, or from an uploaded file."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from service.errors import Unprocessable
from service.manifest_files import FileMissing, PathLeavesRoot, resolve_uri
from service.manifests import Manifest, read_manifest
from service.storage import Storage, digest_of
from service.weights_header import check_weights_file

WEIGHTS_TYPE = "application/vnd.safetensors"
_MANIFEST_TYPES = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv"}


class StoredWeights(NamedTuple):
    """Weights that lie in the storage: their key and their SHA-256."""

    key: str
    sha256: str


def store_weights(
    storage: Storage,
    data_roots: Sequence[Path],
    *,
    uri: str | None,
    file: BinaryIO | None,
    sha256: str | None,
) -> StoredWeights:
    """Check the header of a safetensors file and keep a copy of the file.

    Args:
        storage: Where the copy goes.
        data_roots: Folders that ``uri`` may name files in.
        uri: Path or ``file://`` URL.
        file: An uploaded file; exactly one of the two is given.
        sha256: The digest that the caller expects; None: any.

    Raises:
        Unprocessable: ``invalid_request``, ``weights_not_found``, ``path_outside_roots``,
            ``weights_not_safetensors``, ``weights_truncated`` or ``weights_digest_mismatch``.
    """
    refuse_two_sources("weights", uri, file)
    if file is not None:
        with spooled(file) as path:
            return _store(storage, path, sha256)
    return _store(storage, _locate(str(uri), data_roots), sha256)


def refuse_two_sources(what: str, uri: str | None, file: BinaryIO | None) -> None:
    """Refuse both a URI and an uploaded file, and neither.

    Raises:
        Unprocessable: ``invalid_request``.
    """
    if (uri is None) == (file is None):
        detail = f"Give the {what} either as {what}_uri or as the form part {what}."
        errors = [{"pointer": f"/{what}_uri", "detail": detail}]
        raise Unprocessable("invalid_request", detail, errors)


def stored_manifest(
    storage: Storage,
    file: BinaryIO,
    root: Path,
    manifest_format: str | None,
    class_names: Sequence[str] | None,
) -> tuple[Manifest, str]:
    """Read an uploaded manifest and keep a copy of it; return it with the copy's key.

    Raises:
        ManifestRejected: as `read_manifest`.
    """
    with spooled(file) as path:
        kind = manifest_format or _sniff(path)
        manifest = read_manifest(path, root, kind, class_names)
        key = storage.put_file(path, _MANIFEST_TYPES.get(kind, "application/octet-stream"))
    return manifest, key


def _sniff(path: Path) -> str:
    with path.open("rb") as file:
        return "parquet" if file.read(4) == b"PAR1" else "csv"


@contextmanager
def spooled(file: BinaryIO) -> Iterator[Path]:
    """Write an uploaded file to a temporary one; yield its path."""
    with tempfile.NamedTemporaryFile(prefix="expunge-upload-") as copy:
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        yield Path(copy.name)


def _locate(uri: str, data_roots: Sequence[Path]) -> Path:
    try:
        path = resolve_uri(uri, data_roots)
    except PathLeavesRoot as error:
        detail = "The weights must lie under one of the server's data roots."
        raise Unprocessable("path_outside_roots", detail, [_place(detail)]) from error
    except FileMissing as error:
        raise _not_found() from error
    if not path.is_file():
        raise _not_found()
    return path


def _store(storage: Storage, path: Path, expected: str | None) -> StoredWeights:
    check_weights_file(path)
    key = storage.put_file(path, WEIGHTS_TYPE)
    digest = digest_of(key)
    if expected is not None and expected != digest:
        detail = "The file's SHA-256 is not the given weights_sha256."
        raise Unprocessable(
            "weights_digest_mismatch", detail, [{"pointer": "/weights_sha256", "detail": detail}]
        )
    return StoredWeights(key, digest)


def _not_found() -> Unprocessable:
    detail = "There is no such weights file that can be read under the data roots."
    return Unprocessable("weights_not_found", detail, [_place(detail)])


def _place(detail: str) -> dict[str, str]:
    return {"pointer": "/weights_uri", "detail": detail}
