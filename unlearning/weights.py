"""Weights on disk: safetensors only, checked before a byte of them reaches a network.

Files may come from strangers. Nothing is ever unpickled; names, shapes, types and finiteness must
all hold, or the network stays as it was.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearning.errors import WeightsRejected

_METADATA_KEY = "expunge"
_LENGTH_BYTES = 8
_LARGEST_HEADER = 100_000_000
_CHUNK = 1 << 20
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: tuple[int, ...]
    end: int


def save_weights(model: nn.Module, path: Path, metadata: Mapping[str, object]) -> str:
    """Write parameters and buffers with JSON metadata; return the file's SHA-256 in hexadecimal.

    Equal weights and metadata give equal bytes. Tensors that share memory are written in full
    under each name. The file appears under its name only when it is complete.
    """
    # cloned: safetensors refuses tensors that share memory or are laid out channels-last
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    # one key: the order of several is not fixed by the format
    text = json.dumps(metadata, sort_keys=True, separators=(",", ":"))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        save_file(tensors, temporary, metadata={_METADATA_KEY: text})
        digest = _sha256(temporary)
        os.replace(temporary, path)  # noqa: PTH105 - atomic, also over an existing file
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def load_weights(model: nn.Module, path: Path) -> dict[str, object]:
    """Copy weights from a file into a model, all or nothing; return the file's own metadata.

    Raises:
        WeightsRejected: with the code `weights_not_safetensors`, `weights_truncated`,
            `weights_mismatch` (names, shapes or types) or `weights_not_finite`; the model is
            unchanged then.
    """
    entries, metadata = _read_header(path)
    expected = model.state_dict()
    _check_layout(entries, expected)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsRejected("weights_not_safetensors", f"the file is damaged: {error}") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsRejected("weights_not_finite", f"{name} holds NaN or infinite values")
    model.load_state_dict(tensors, strict=True)
    return metadata


def _read_header(path: Path) -> tuple[dict[str, _Entry], dict[str, object]]:
    """Parse the header without trusting it, telling a cut file from one of another format."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES:
            raise WeightsRejected("weights_truncated", f"the file has only {size} bytes")
        if length > _LARGEST_HEADER or file.read(1) not in {b"{", b""}:
            raise WeightsRejected(
                "weights_not_safetensors",
                "the file is not in the safetensors format; pickled checkpoints (.pt, .pth) are "
                "never loaded, convert them with safetensors.torch.save_file",
            )
        if length > size - _LENGTH_BYTES:
            raise WeightsRejected("weights_truncated", "the file ends within its header")
        file.seek(_LENGTH_BYTES)
        header = file.read(length)
    entries, metadata = _parse_header(header)
    needed = _LENGTH_BYTES + length + max((entry.end for entry in entries.values()), default=0)
    if size < needed:
        raise WeightsRejected("weights_truncated", f"the file has {size} of {needed} bytes")
    return entries, metadata


def _parse_header(header: bytes) -> tuple[dict[str, _Entry], dict[str, object]]:
    try:
        parsed = json.loads(header)
        own = json.loads(parsed.pop("__metadata__", {}).get(_METADATA_KEY, "{}"))
        entries = {
            name: _Entry(
                dtype=str(entry["dtype"]),
                shape=tuple(int(side) for side in entry["shape"]),
                end=int(entry["data_offsets"][1]),
            )
            for name, entry in parsed.items()
        }
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise WeightsRejected(
            "weights_not_safetensors", "the file's safetensors header cannot be read"
        ) from error
    return entries, own if isinstance(own, dict) else {}


def _check_layout(entries: Mapping[str, _Entry], expected: Mapping[str, Tensor]) -> None:
    missing, surplus = sorted(expected.keys() - entries), sorted(entries.keys() - expected)
    if missing or surplus:
        raise WeightsRejected(
            "weights_mismatch",
            f"the file lacks {_some(missing)} and has {_some(surplus)} besides; "
            "is it of the registered architecture?",
        )
    for name, tensor in expected.items():
        entry = entries[name]
        if entry.shape != tuple(tensor.shape):
            raise WeightsRejected(
                "weights_mismatch",
                f"{name} has shape {list(entry.shape)}, expected {list(tensor.shape)}",
            )
        if entry.dtype != _DTYPES.get(tensor.dtype):
            raise WeightsRejected(
                "weights_mismatch",
                f"{name} is of type {entry.dtype}, expected {_DTYPES.get(tensor.dtype)}",
            )


def _some(names: list[str]) -> str:
    if not names:
        return "nothing"
    shown = ", ".join(name[:80] for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
