"""Check a manifest row by row and count what is wrong with it."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from service.errors import Unprocessable
from service.manifest_files import FileMissing, PathLeavesRoot, Root

SPLITS = {
    "train": "train",
    "holdout": "holdout",
    "test": "holdout",
    "val": "holdout",
    "valid": "holdout",
    "validation": "holdout",
}
"""What a manifest may call its splits, and what they are."""

MAX_SHOWN = 10
MAX_CLASSES = 100_000
MAX_ROWS = 10_000_000
MAX_FAULTS = 100_000
_MAX_ID_LENGTH = 512
_MAX_URI_LENGTH = 4096
_MAX_NAME_LENGTH = 200
_SHA256 = re.compile(r"[0-9a-f]{64}")


class RawRow(NamedTuple):
    """One line of a manifest as it was read; anything may be missing or of a wrong kind."""

    sample_id: object
    label: object
    split: object
    uri: object
    sha256: object = None
    subject_id: object = None


class CheckedRow(NamedTuple):
    """One sample that passed every check."""

    sample_id: str
    label: int
    split: str
    uri: str
    sha256: str
    subject_id: str | None


class Faults:
    """Count what is wrong by kind and keep the first few places.

    Attributes:
        counts: Faulty rows by kind, like ``{"label_out_of_range": 3}``.
        errors: The first places as ``{"pointer": "/rows/17/label", "detail": …}``.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[dict[str, str]] = []

    def add(self, kind: str, row: int, column: str, detail: str) -> None:
        """Record that a row (0-based, without the header) is faulty in a column."""
        self.counts[kind] += 1
        if len(self.errors) < MAX_SHOWN:
            self.errors.append({"pointer": f"/rows/{row}/{column}", "detail": detail})


class RowChecker:
    """Turn raw rows into samples, or into a list of faults.

    Args:
        root: The folder that uris are relative to.
        class_names: Names by label; None: taken from the labels that occur.
    """

    def __init__(self, root: Root, class_names: Sequence[str] | None) -> None:
        self.faults = Faults()
        self._root = root
        self._class_names = list(class_names) if class_names is not None else None
        self._seen: set[str] = set()

    def check(self, rows: Iterable[RawRow]) -> tuple[list[CheckedRow], list[str]]:
        """Return the samples and the class names; read :attr:`faults` before using them."""
        raw = list(islice(rows, MAX_ROWS + 1))
        if len(raw) > MAX_ROWS:
            raise too_large()
        names = self._class_names if self._class_names is not None else _names_from(raw)
        numbers = {name: number for number, name in enumerate(names)}
        checked = []
        for position, row in enumerate(raw):
            before = self.faults.counts.total()
            sample = self._check_row(position, row, numbers, len(names))
            if self.faults.counts.total() == before:
                checked.append(sample)
            if self.faults.counts.total() > MAX_FAULTS:
                break
        return checked, names

    def _check_row(
        self, position: int, row: RawRow, numbers: dict[str, int], num_classes: int
    ) -> CheckedRow:
        split = SPLITS.get(str(row.split).lower(), "")
        if not split:
            detail = "The split is train or holdout (or test, val, validation)."
            self.faults.add("bad_split", position, "split", detail)
        uri = str(row.uri or "")
        if len(uri) > _MAX_URI_LENGTH:
            self.faults.add("bad_uri", position, "uri", "A uri has at most 4096 characters.")
            uri = ""
        subject = None if row.subject_id in (None, "") else str(row.subject_id)
        if subject is not None and not (len(subject) <= _MAX_ID_LENGTH and subject.isprintable()):
            detail = f"A subject's id has at most {_MAX_ID_LENGTH} printable characters."
            self.faults.add("bad_subject_id", position, "subject_id", detail)
        return CheckedRow(
            self._sample_id(position, row.sample_id),
            self._label(position, row.label, numbers, num_classes),
            split,
            uri,
            self._sha256(position, uri, row.sha256),
            subject,
        )

    def _sample_id(self, position: int, value: object) -> str:
        sample_id = "" if value is None else str(value)
        if not 0 < len(sample_id) <= _MAX_ID_LENGTH or not sample_id.isprintable():
            detail = f"An id has 1 to {_MAX_ID_LENGTH} printable characters."
            self.faults.add("bad_sample_id", position, "sample_id", detail)
        elif sample_id in self._seen:
            detail = "An earlier row has the same id."
            self.faults.add("duplicate_sample_id", position, "sample_id", detail)
        self._seen.add(sample_id)
        return sample_id

    def _label(
        self, position: int, value: object, numbers: dict[str, int], num_classes: int
    ) -> int:
        label = numbers.get(value) if isinstance(value, str) else None
        if label is None:
            label = _as_int(value)
        if label is None or not 0 <= label < num_classes:
            detail = f"A label is a class name or a number from 0 to {num_classes - 1}."
            self.faults.add("label_out_of_range", position, "label", detail)
            return -1
        return label

    def _sha256(self, position: int, uri: str, value: object) -> str:
        given = "" if value is None else str(value).lower()
        if given and _SHA256.fullmatch(given) is None:
            detail = "A SHA-256 has 64 hex digits."
            self.faults.add("bad_sha256", position, "sha256", detail)
        try:
            if given:
                self._root.check(uri)
                return given
            computed = self._root.sha256(uri)
        except PathLeavesRoot as error:
            self.faults.add("path_outside_root", position, "uri", str(error))
            return ""
        except FileMissing as error:
            self.faults.add("file_missing", position, "uri", str(error))
            return ""
        if not computed:
            self.faults.add("file_missing", position, "uri", "The row holds no image.")
        return computed


def too_large() -> Unprocessable:
    """Return the refusal of more rows than a data set may have."""
    detail = f"A data set has at most {MAX_ROWS} samples."
    return Unprocessable("manifest_too_large", detail, limit=MAX_ROWS)


def _names_from(rows: Sequence[RawRow]) -> list[str]:
    numbers = [_as_int(row.label) for row in rows]
    known = [number for number in numbers if number is not None]
    if len(known) == len(numbers):
        highest = max((number for number in known if number < MAX_CLASSES), default=-1)
        return [str(number) for number in range(highest + 1)]
    names = {row.label for row in rows if isinstance(row.label, str) and row.label}
    return sorted(name for name in names if len(name) <= _MAX_NAME_LENGTH and name.isprintable())[
        :MAX_CLASSES
    ]


def _as_int(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        return int(value)
    return None
