"""Sets of sample ordinals as compressed bitmaps: E, forget sets and retain sets in the database."""

import hashlib
from array import array
from collections.abc import Iterable

from pyroaring import BitMap


def pack(ordinals: Iterable[int]) -> bytes:
    """Serialise a set of ordinals in the portable Roaring format."""
    bitmap = BitMap(ordinals)
    bitmap.run_optimize()
    return bytes(bitmap.serialize())


def unpack(data: bytes) -> BitMap:
    """Read what `pack` wrote."""
    return BitMap.deserialize(data)


def digest(bitmap: BitMap) -> str:
    """Return the SHA-256 of the sorted ordinals as little-endian 32-bit integers.

    Independent of how the bitmap happens to be compressed.
    """
    values = array("I", bitmap)
    if values.itemsize != 4 or array("H", [1]).tobytes() != b"\x01\x00":
        return hashlib.sha256(b"".join(v.to_bytes(4, "little") for v in values)).hexdigest()
    return hashlib.sha256(values.tobytes()).hexdigest()
