"""Read a job's samples: rows of an Arrow file to images of the library.

Every image is untrusted. Its bytes are read once, compared with their registered SHA-256, and only
then decoded, with bounds on bytes and pixels. Nothing outside the data root is opened. Failures are
counted over the whole job, so that one answer says how many samples have to be put right.
"""

import hashlib
import io
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from service.manifest_files import image_column
from service.parquet_guard import ParquetRefused, guarded_chunks, guarded_schema
from unlearning.data import Images, StreamedImages, TensorImages
from worker.errors import UsageFailure
from worker.memory import stays_resident

MAX_ENCODED_BYTES = 64 << 20
MAX_PIXELS = 1 << 26
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

_ADVICE = {
    "image_outside_root": "lie outside the data root: register the data set with paths inside it.",
    "image_missing": "cannot be read from the data root: put the files back where the manifest says"
    " they are, or register the data set again.",
    "image_digest_mismatch": "have changed since the data set was registered (their SHA-256"
    " differs): restore the registered files, or register the data set again.",
    "image_undecodable": "cannot be decoded: only sound BMP, GIF, JPEG, PNG, PPM, TIFF and WebP"
    f" images of at most {MAX_PIXELS // 1_000_000} megapixels can be used.",
}


class _Rejected(Exception):
    """One image cannot be used; the code says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Preprocessing:
    """How an encoded image becomes an input of the network.

    Attributes:
        mean: Per channel, of values in 0..1.
        std: Per channel, of values in 0..1.
        size: Height and width in pixels.
        channels: 1 (grey) or 3 (RGB).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    channels: int

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """Read the model's preprocessing as the job's specification writes it."""
        height, width = values["size"]
        return cls(
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
            size=(int(height), int(width)),
            channels=int(values["channels"]),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width."""
        return (self.channels, *self.size)


class ImageReader:
    """Read, check and decode images below one folder.

    Args:
        data_root: No URI may lead out of it, links resolved.
        preprocessing: Mode and size of the result.
    """

    def __init__(self, data_root: Path, preprocessing: Preprocessing) -> None:
        self._root = data_root.resolve()
        self._preprocessing = preprocessing
        self._columns: dict[Path, pa.ChunkedArray] = {}
        self._lock = threading.Lock()

    def read(self, uri: str, sha256: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the image as uint8 [C, H, W].

        Raises:
            _Rejected: The image is missing, outside, changed or undecodable.
        """
        content = self._content(uri)
        if hashlib.sha256(content).hexdigest() != sha256.lower():
            raise _Rejected("image_digest_mismatch")
        return decode(content, self._preprocessing)

    def holds(self, uri: str, sha256: str) -> bool:
        """Say whether the file is there, unchanged."""
        try:
            return hashlib.sha256(self._content(uri)).hexdigest() == sha256.lower()
        except _Rejected:
            return False

    def _content(self, uri: str) -> bytes:
        name, mark, row = uri.rpartition("#")
        if mark and row.isascii() and row.isdigit() and name.lower().endswith(".parquet"):
            return self._from_parquet(self._inside(name), int(row))
        path = self._inside(uri)
        try:
            if path.stat().st_size > MAX_ENCODED_BYTES:
                raise _Rejected("image_undecodable")
            return path.read_bytes()
        except OSError as error:
            raise _Rejected("image_missing") from error

    def _inside(self, uri: str) -> Path:
        try:
            path = (self._root / uri).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a null byte
            raise _Rejected("image_missing") from error
        if not path.is_relative_to(self._root):
            raise _Rejected("image_outside_root")
        if not path.is_file():
            raise _Rejected("image_missing")
        return path

    def _from_parquet(self, path: Path, row: int) -> bytes:
        with self._lock:
            if path not in self._columns:
                self._columns[path] = _read_column(path)
            column = self._columns[path]
        if row >= len(column):
            raise _Rejected("image_missing")
        value = column[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise _Rejected("image_missing")
        if len(content) > MAX_ENCODED_BYTES:
            raise _Rejected("image_undecodable")
        return content


def _read_column(path: Path) -> pa.ChunkedArray:
    """Return the image column of a Parquet file, still encoded."""
    try:
        name = image_column(guarded_schema(path))
        if name is None:
            raise _Rejected("image_missing")
        return guarded_chunks(path, name)
    except (OSError, ParquetRefused) as error:
        raise _Rejected("image_missing") from error


def decode(content: bytes, preprocessing: Preprocessing) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode one image to uint8 [C, H, W] in the model's mode and size.

    Raises:
        _Rejected: Pillow cannot read it, or it has too many pixels.
    """
    height, width = preprocessing.size
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            _check_pixels(image)
            converted = _in_mode(image, preprocessing.channels)
            if converted.size != (width, height):
                converted = converted.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(converted, dtype=np.uint8)
    except Exception as error:  # Pillow's decoders raise almost anything on hostile bytes
        raise _Rejected("image_undecodable") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _check_pixels(image: Image.Image) -> None:
    """Refuse an image that says, before it is decoded, that it has too many pixels."""
    if image.width * image.height > MAX_PIXELS:
        raise _Rejected("image_undecodable")


def _in_mode(image: Image.Image, channels: int) -> Image.Image:
    """Convert to 8-bit grey or RGB; 16-bit grey keeps its upper byte instead of being clipped."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("L" if channels == 1 else "RGB")


@dataclass(frozen=True)
class Samples:
    """The rows of a job, as columns of equal length."""

    positions: list[int]
    uris: list[str]
    digests: list[str]
    labels: Tensor
    roles: list[str]
    groups: list[int | None]
    """What a training leaves out together; null where nothing is left out."""

    @classmethod
    def read(cls, path: Path) -> "Samples":
        """Read the Arrow IPC file that the supervisor wrote."""
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
            columns = {name: table.column(name).to_pylist() for name in table.column_names}
        return cls(
            positions=columns["position"],
            uris=columns["uri"],
            digests=columns["sha256"],
            labels=torch.tensor(columns["label"], dtype=torch.int64),
            roles=columns["role"],
            groups=columns["group"],
        )

    def only(self, kept: Sequence[bool]) -> "Samples":
        """Return the rows that are to be kept, in their order."""
        names = ("positions", "uris", "digests", "roles", "groups")
        columns = {name: list(compress(getattr(self, name), kept)) for name in names}
        return Samples(labels=self.labels[torch.tensor(kept, dtype=torch.bool)], **columns)

    def rows(self, *roles: str) -> Tensor:
        """Return the row numbers (int64) of all samples in any of these roles, in file order."""
        return torch.tensor([i for i, role in enumerate(self.roles) if role in roles]).long()


def load_images(
    samples: Samples,
    reader: ImageReader,
    preprocessing: Preprocessing,
    *,
    num_classes: int,
    device: str,
    threads: int,
) -> Images:
    """Return all samples as images: on the device where they fit, else decoded as they are needed.

    Raises:
        UsageFailure: Some images cannot be used: how many, why, and what to do.
    """
    options: dict[str, Any] = {
        "labels": samples.labels,
        "num_classes": num_classes,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "device": device,
    }

    def load(index: Tensor) -> Tensor:
        return _load(samples, reader, preprocessing, index.tolist(), threads)

    if not stays_resident(len(samples.uris) * int(np.prod(preprocessing.shape)), device):
        return StreamedImages(load=load, **options)
    return TensorImages(images=load(torch.arange(len(samples.uris))), **options)


def _load(
    samples: Samples,
    reader: ImageReader,
    preprocessing: Preprocessing,
    rows: Sequence[int],
    threads: int,
) -> Tensor:
    """Decode the given rows to uint8 [n, C, H, W] in threads; Pillow lets go of the GIL."""
    images = np.empty((len(rows), *preprocessing.shape), dtype=np.uint8)

    def place(target: int) -> str | None:
        row = rows[target]
        try:
            images[target] = reader.read(samples.uris[row], samples.digests[row])
        except _Rejected as rejected:
            return rejected.code
        return None

    with ThreadPoolExecutor(max(1, threads)) as pool:
        _refuse(pool.map(place, range(len(rows))), len(rows))
    return torch.from_numpy(images)


def _refuse(codes: Iterable[str | None], total: int) -> None:
    """Raise for the first kind of failure that occurred, in the order of `_ADVICE`."""
    counts = Counter(code for code in codes if code is not None)
    for code, advice in _ADVICE.items():
        if counts[code]:
            raise UsageFailure(code, f"{counts[code]} of {total} images {advice}")
