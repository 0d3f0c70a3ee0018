"""Check a safetensors file by its header alone: no tensor is read, nothing is unpickled.

The format (huggingface/safetensors): 8 bytes little-endian header length, a JSON header that maps
each tensor to dtype, shape and offsets, then the tensors' bytes without gap or overlap. Whether the
weights fit their architecture and are finite is for a worker job to find out.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from service.errors import Unprocessable

MAX_HEADER_BYTES = 16 << 20
MAX_DIMENSIONS = 64
_POINTER = "/weights"
_MAGIC = {
    b"\x80": "a pickle",
    b"PK\x03\x04": "a zip archive, as torch.save writes (it holds a pickle)",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUM": "a NumPy file",
}
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
}


@dataclass(frozen=True)
class WeightsHeader:
    """What a safetensors header says.

    Attributes:
        num_tensors: Number of tensors.
        num_values: Number of values in all tensors.
        metadata: The file's own ``__metadata__``.
    """

    num_tensors: int
    num_values: int
    metadata: dict[str, str]


def check_weights_file(path: Path) -> WeightsHeader:
    """Check a file's header against its size.

    Raises:
        Unprocessable: ``weights_not_safetensors`` (pickles and zip archives are named as such) or
            ``weights_truncated``.
    """
    with path.open("rb") as file:
        return check_weights(file, path.stat().st_size)


def check_weights(file: BinaryIO, size: int) -> WeightsHeader:
    """Check an open file of ``size`` bytes; see :func:`check_weights_file`."""
    start = file.read(8)
    for magic, kind in _MAGIC.items():
        # A safetensors length that begins with these bytes would mean a header of over 60 MB.
        if start.startswith(magic) and not _looks_like_header(file):
            raise _not_safetensors(f"This is {kind}; save the state with safetensors instead.")
    if len(start) < 8:
        raise _not_safetensors("The file is too short to be safetensors.")
    (length,) = struct.unpack("<Q", start)
    if length > MAX_HEADER_BYTES:
        raise _not_safetensors("The first 8 bytes are no plausible header length.")
    if length > size - 8:
        raise _truncated(f"The header says {length} bytes, the file has {size - 8} after it.")
    return _check_header(_parse(file, length), size - 8 - length)


def _looks_like_header(file: BinaryIO) -> bool:
    position = file.tell()
    first = file.read(1)
    file.seek(position)
    return first == b"{"


def _parse(file: BinaryIO, length: int) -> dict[str, Any]:
    file.seek(8)
    try:
        header = json.loads(file.read(length).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _not_safetensors("The header is no JSON.") from error
    if not isinstance(header, dict):
        raise _not_safetensors("The header is no JSON object.")
    return header


def _check_header(header: dict[str, Any], num_bytes: int) -> WeightsHeader:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _not_safetensors("__metadata__ is no object.")
    spans = []
    num_values = 0
    for entry in header.values():
        begin, end, count = _span(entry)
        spans.append((begin, end))
        num_values += count
    if not spans:
        raise _not_safetensors("The file holds no tensor.")
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise _not_safetensors("The tensors overlap or leave a gap.")
        position = end
    if position > num_bytes:
        raise _truncated(f"The tensors need {position} bytes, the file holds {num_bytes}.")
    if position < num_bytes:
        raise _not_safetensors("Bytes follow after the last tensor.")
    text = {str(name): str(value) for name, value in metadata.items()}
    return WeightsHeader(len(spans), num_values, text)


def _span(entry: object) -> tuple[int, int, int]:
    try:
        dtype, shape = entry["dtype"], entry["shape"]  # type: ignore[index]
        begin, end = entry["data_offsets"]  # type: ignore[index]
        numbers = [begin, end, *shape]
    except (TypeError, KeyError, ValueError) as error:
        raise _not_safetensors("A tensor lacks dtype, shape or data_offsets.") from error
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _not_safetensors("A tensor's shape or offsets are no counts.")
    bits = _BITS.get(dtype, 8 * _BYTES.get(dtype, 0)) if isinstance(dtype, str) else 0
    if len(shape) > MAX_DIMENSIONS or max(numbers, default=0) >= 2**63:
        raise _not_safetensors("A tensor's shape or offsets are beyond any file.")
    count = math.prod(shape)
    if bits == 0 or (end - begin) * 8 != count * bits:
        raise _not_safetensors("A tensor's offsets do not fit its dtype and shape.")
    return begin, end, count


def _not_safetensors(detail: str) -> Unprocessable:
    return Unprocessable("weights_not_safetensors", detail, [_place(detail)])


def _truncated(detail: str) -> Unprocessable:
    detail = f"{detail} The upload was cut off; send the file again."
    return Unprocessable("weights_truncated", detail, [_place(detail)])


def _place(detail: str) -> dict[str, str]:
    return {"pointer": _POINTER, "detail": detail}
