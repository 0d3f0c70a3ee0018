"""Read manifests: Parquet, CSV, Parquet with the images inside, and image folders.

A manifest lists samples: ``sample_id``, ``label``, ``split`` (``train`` or ``holdout``), ``uri``
(or ``file_name``), and optionally ``sha256`` and ``subject_id``. pyarrow (which loads numpy) is
imported only inside the functions that read Parquet.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import Unprocessable
from service.manifest_files import FileMissing, PathLeavesRoot, Root, image_column, resolve_uri
from service.manifest_rows import MAX_ROWS, SPLITS, CheckedRow, RawRow, RowChecker, too_large
from service.parquet_guard import ParquetRefused, guarded_columns, guarded_metadata, guarded_schema

FORMATS = ("parquet", "csv", "image_parquet", "image_folder")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_REQUIRED = ("sample_id", "label", "split")
_URI_COLUMNS = ("uri", "file_name")


@dataclass(frozen=True)
class Manifest:
    """A manifest that passed every check.

    Attributes:
        format: One of ``FORMATS``.
        root: The real folder that uris are relative to.
        class_names: Names by label.
        rows: The samples in the manifest's order.
    """

    format: str
    root: Path
    class_names: list[str]
    rows: list[CheckedRow]


class ManifestRejected(Unprocessable):
    """A manifest cannot be used; ``code`` and the counts say why."""

    def __init__(
        self,
        code: str,
        detail: str,
        errors: list[dict[str, str]] | None = None,
        **counts: Any,  # noqa: ANN401 - any JSON value
    ) -> None:
        super().__init__(code, detail, errors or [], **counts)


def locate_manifest(uri: str, root: str | None, data_roots: Sequence[Path]) -> tuple[Path, Path]:
    """Return the real paths of a manifest (file or folder) and of its root.

    Args:
        uri: Path or ``file://`` URL inside the data roots.
        root: Folder that uris are relative to; None: the manifest's own folder.
        data_roots: Folders that callers may name.

    Raises:
        ManifestRejected: ``path_outside_roots`` or ``manifest_not_found``.
    """
    path = _resolve(uri, data_roots, "/manifest_uri")
    if root is None:
        return path, path if path.is_dir() else path.parent
    return path, locate_root(root, data_roots)


def locate_root(root: str, data_roots: Sequence[Path]) -> Path:
    """Return the real path of a root folder; raise ManifestRejected like locate_manifest."""
    folder = _resolve(root, data_roots, "/root")
    if not folder.is_dir():
        detail = "The root must be a folder."
        raise ManifestRejected("manifest_not_found", detail, [_error("/root", detail)])
    return folder


def read_manifest(
    path: Path, root: Path, manifest_format: str | None, class_names: Sequence[str] | None
) -> Manifest:
    """Read a manifest and check every row.

    Args:
        path: The manifest, a file or (image folder, Parquet files with images) a folder.
        root: The folder that uris are relative to.
        manifest_format: One of ``FORMATS``; None: found out from the name and the columns.
        class_names: Names by label; None: from the manifest.

    Raises:
        ManifestRejected: ``manifest_unreadable``, ``manifest_columns_missing``, ``manifest_empty``
            or ``manifest_rows_invalid``, the last with counts by kind and the first places.
        Unprocessable: ``manifest_too_large``.
    """
    kind = manifest_format or _detect(path)
    declared = list(class_names) if class_names is not None else None
    if kind == "csv":
        rows = _read_csv(path)
    elif kind == "image_folder":
        rows = _read_image_folder(path, root)
    else:
        files = sorted(path.glob("**/*.parquet")) if path.is_dir() else [path]
        declared = declared or _embedded_class_names(files)
        _refuse_too_many(files)
        rows = (row for file in files for row in _read_parquet(file, root, kind))
    checker = RowChecker(Root(root), declared)
    samples, names = checker.check(rows)
    faults = checker.faults
    if faults.counts:
        total = faults.counts.total()
        detail = (
            f"{total} faults in the manifest's rows; the first {len(faults.errors)} are listed."
        )
        code = "manifest_rows_invalid"
        raise ManifestRejected(code, detail, faults.errors, counts=dict(faults.counts))
    if not samples:
        raise ManifestRejected("manifest_empty", "The manifest lists no sample.")
    return Manifest(kind, root, names, samples)


def _refuse_too_many(files: Sequence[Path]) -> None:
    """Look at the footers before a row is read."""
    try:
        num_rows = sum(guarded_metadata(file).num_rows for file in files)
    except ParquetRefused as error:
        raise ManifestRejected("manifest_unreadable", str(error)) from error
    if num_rows > MAX_ROWS:
        raise too_large()


def _resolve(uri: str, data_roots: Sequence[Path], pointer: str) -> Path:
    try:
        return resolve_uri(uri, data_roots)
    except PathLeavesRoot as error:
        detail = f"{error} Put it under one of the server's data roots (EXPUNGE_DATA_ROOTS)."
        raise ManifestRejected("path_outside_roots", detail, [_error(pointer, detail)]) from error
    except FileMissing as error:
        detail = "There is no such file or folder that can be read under the data roots."
        raise ManifestRejected("manifest_not_found", detail, [_error(pointer, detail)]) from error


def _error(pointer: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "detail": detail}


def _detect(path: Path) -> str:
    if path.is_dir():
        return "image_parquet" if any(path.glob("**/*.parquet")) else "image_folder"
    if path.suffix.lower() == ".csv":
        return "csv"
    if path.suffix.lower() != ".parquet":
        detail = "A manifest is a .parquet or .csv file, or a folder of images."
        raise ManifestRejected("manifest_unreadable", detail)
    names = _parquet_schema(path).names
    return "parquet" if any(name in names for name in _URI_COLUMNS) else "image_parquet"


def _require(columns: Sequence[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in columns]
    if missing:
        detail = (
            f"The manifest lacks the columns {', '.join(missing)}; it has {', '.join(columns)}."
        )
        errors = [_error(f"/columns/{name}", "This column is missing.") for name in missing]
        raise ManifestRejected("manifest_columns_missing", detail, errors, missing=missing)


def _uri_column(columns: Sequence[str]) -> str:
    return next((name for name in _URI_COLUMNS if name in columns), _URI_COLUMNS[0])


def _read_csv(path: Path) -> Iterator[RawRow]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            uri = _uri_column(columns)
            _require(columns, [*_REQUIRED, uri])
            for row in reader:
                yield RawRow(*(row.get(c) for c in (*_REQUIRED, uri, "sha256", "subject_id")))
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        detail = "The manifest is no CSV file in UTF-8 with a header line."
        raise ManifestRejected("manifest_unreadable", detail) from error


def _read_parquet(path: Path, root: Path, kind: str) -> Iterator[RawRow]:
    schema = _parquet_schema(path)
    inside = kind == "image_parquet"
    uri = "" if inside else _uri_column(schema.names)
    if inside and image_column(schema) is None:
        _require(schema.names, [*_REQUIRED, "image"])
    _require(schema.names, ["label"] if inside else [*_REQUIRED, uri])
    wanted = [c for c in (*_REQUIRED, uri, "sha256", "subject_id") if c in schema.names]
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    split = SPLITS.get(path.stem.split("-")[0].lower())
    columns = (*_REQUIRED, uri or "uri", "sha256", "subject_id")
    position = 0
    try:
        for batch in guarded_columns(path, wanted):
            for values in zip(*batch, strict=True):
                row = dict(zip(wanted, values, strict=True))
                if inside:
                    row["uri"] = f"{relative.as_posix()}#{position}"
                    row.setdefault("sample_id", f"{path.stem}-{position}")
                    row.setdefault("split", split)
                yield RawRow(*(row.get(name) for name in columns))
                position += 1
    except ParquetRefused as error:
        raise ManifestRejected("manifest_unreadable", str(error)) from error


def _parquet_schema(path: Path) -> Any:  # noqa: ANN401 - a pyarrow.Schema
    try:
        return guarded_schema(path)
    except ParquetRefused as error:
        raise ManifestRejected("manifest_unreadable", str(error)) from error


def _embedded_class_names(files: Sequence[Path]) -> list[str] | None:
    """Return the class names that Hugging Face's `datasets` writes into a Parquet file."""
    for path in files:
        metadata = _parquet_schema(path).metadata or {}
        try:
            features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
            return [str(name) for name in features["label"]["names"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return None


def _read_image_folder(path: Path, root: Path) -> Iterator[RawRow]:
    """Yield ``<split>/<class>/<file>`` images; without split folders everything is ``train``."""
    if not path.is_dir():
        raise ManifestRejected("manifest_unreadable", "An image folder is a folder.")
    top = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    has_splits = bool(top) and all(name.lower() in SPLITS for name in top)
    for file in sorted(path.rglob("*")):
        parts = file.relative_to(path).parts
        if file.suffix.lower() not in IMAGE_SUFFIXES or len(parts) < 2 + has_splits:
            continue
        split = SPLITS[parts[0].lower()] if has_splits else "train"
        uri = file.relative_to(root).as_posix() if file.is_relative_to(root) else ""
        yield RawRow("/".join(parts), parts[int(has_splits)], split, uri)
