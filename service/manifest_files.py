"""Reach the files that a manifest names, and nothing outside its root.

pyarrow (which loads numpy) is imported only inside the functions that read Parquet.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from service.parquet_guard import ParquetRefused, guarded_columns, guarded_metadata, guarded_schema


class PathLeavesRoot(ValueError):
    """A path is absolute, climbs with `..`, or follows a link out of its root."""


class FileMissing(ValueError):
    """A path or a row of a Parquet file does not exist."""


def resolve_uri(uri: str, roots: Sequence[Path]) -> Path:
    """Return the real path of a file or folder that a caller names.

    Args:
        uri: ``file://`` URL, absolute path, or a path relative to one of the roots.
        roots: Folders that callers may name; the result lies inside one of them, links followed.

    Raises:
        PathLeavesRoot: It lies outside every root, or is no file URL.
        FileMissing: There is nothing, or nothing that this process may read.
    """
    parts = urlsplit(uri)
    if parts.scheme not in {"", "file"} or parts.netloc not in {"", "localhost"} or "\0" in uri:
        raise PathLeavesRoot("Only paths and file:// URLs are read.")
    path = unquote(parts.path) if parts.scheme == "file" else uri
    real_roots = [root.resolve() for root in roots]
    # An absolute path replaces the root that it is joined to.
    candidates = [(root / path).resolve() for root in real_roots]
    inside = [p for p in candidates if any(p.is_relative_to(root) for root in real_roots)]
    if not inside:
        raise PathLeavesRoot("The path lies outside the data roots.")
    for candidate in inside:
        if os.access(candidate, os.R_OK):
            return candidate
    raise FileMissing("There is no such file.")


class Root:
    """A folder whose files a manifest names by relative paths.

    Args:
        path: The folder; links in it that lead outside are refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._real_parents: dict[str, str] = {}
        self._parquet: dict[Path, ParquetImages] = {}

    def check(self, uri: str) -> None:
        """Check that a relative path, or ``file.parquet#row``, exists inside the root.

        Raises:
            PathLeavesRoot: It leaves the root.
            FileMissing: Nothing is there.
        """
        path, row = _split_row(uri)
        file = self._locate(path)
        if row is not None and row >= self._images(file).num_rows:
            raise FileMissing("The Parquet file has fewer rows.")

    def sha256(self, uri: str) -> str:
        """Return the digest of a sample's bytes (the encoded image), hex; see :meth:`check`."""
        path, row = _split_row(uri)
        file = self._locate(path)
        if row is not None:
            images = self._images(file)
            if row >= images.num_rows:
                raise FileMissing("The Parquet file has fewer rows.")
            return images.digests[row]
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    def _images(self, file: Path) -> "ParquetImages":
        if file not in self._parquet:
            self._parquet[file] = ParquetImages(file)
        return self._parquet[file]

    def _locate(self, path: str) -> Path:
        if not path or path.startswith(("/", "\\")) or "\0" in path or ".." in Path(path).parts:
            raise PathLeavesRoot("The path is absolute or climbs out of its root.")
        full = self.path / path
        parent = str(full.parent)
        if parent not in self._real_parents:
            self._real_parents[parent] = os.path.realpath(parent)
        located = self._inside(Path(self._real_parents[parent]) / full.name)
        try:
            mode = located.lstat().st_mode
            if stat.S_ISLNK(mode):
                located = self._inside(located.resolve())
                mode = located.stat().st_mode
        except (OSError, RuntimeError) as error:
            raise FileMissing("There is no such file.") from error
        if not stat.S_ISREG(mode):
            raise FileMissing("This is no regular file.")
        return located

    def _inside(self, path: Path) -> Path:
        if not path.is_relative_to(self.path):
            raise PathLeavesRoot("The path follows a link out of its root.")
        return path


class ParquetImages:
    """The image column of a Parquet file: bytes, or Hugging Face's struct {bytes, path}."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @cached_property
    def num_rows(self) -> int:
        """Number of rows, from the file's footer."""
        try:
            return int(guarded_metadata(self._file).num_rows)
        except ParquetRefused as error:
            raise FileMissing("The Parquet file cannot be read.") from error

    @cached_property
    def digests(self) -> list[str]:
        """SHA-256 of every row's bytes, hex; an empty string where a row has none."""
        found: list[str] = []
        known: dict[int, str] = {}
        for batch in self._batches():
            known.clear()  # within a batch equal images are one object
            for content in batch:
                if id(content) not in known:
                    known[id(content)] = hashlib.sha256(content).hexdigest() if content else ""
                found.append(known[id(content)])
        return found

    def _batches(self) -> Iterator[list[bytes | None]]:
        try:
            column = image_column(guarded_schema(self._file))
            if column is None:
                raise FileMissing("The Parquet file has no image column.")
            for [values] in guarded_columns(self._file, [column]):
                yield values
        except ParquetRefused as error:
            raise FileMissing("The Parquet file cannot be read.") from error


def image_column(schema: Any) -> str | None:  # noqa: ANN401 - a pyarrow.Schema
    """Return the first column of an Arrow schema that holds encoded images, or None."""
    import pyarrow.types as kinds

    for column in schema:
        kind = column.type
        if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
        if kinds.is_binary(kind) or kinds.is_large_binary(kind):
            return str(column.name)
    return None


def _split_row(uri: str) -> tuple[str, int | None]:
    path, mark, row = uri.rpartition("#")
    if mark and path.lower().endswith(".parquet") and row.isascii() and row.isdigit():
        return path, int(row)
    return uri, None
