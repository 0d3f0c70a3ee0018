"""Hostile files out of sound ones, and what it costs to refuse them."""

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pyarrow as pa


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Cut a file, flip bits of it, overwrite a run of it, or put the largest numbers into it."""
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(max(1, len(changed)))
        match chance.randrange(5):
            case 0:
                del changed[place:]
            case 1 if changed:
                changed[place] ^= 1 << chance.randrange(8)
            case 2:
                changed[place : place + 8] = chance.choice((b"\xff" * 8, bytes(8), b"\x7f" * 8))
            case 3:
                changed[place:place] = chance.randbytes(chance.randrange(1, 9))
            case _:
                del changed[place : place + chance.randrange(1, 20)]
    return bytes(changed)


def repeated(value: Any, number: int) -> pa.DictionaryArray:  # noqa: ANN401 - text or bytes
    """Return a column that names one value many times."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * number, pa.int32()), pa.array([value]))


def peak_of(work: Callable[[], object]) -> int:
    """Return the most bytes that Python and Arrow held at once while working."""
    before = int(pa.default_memory_pool().max_memory())
    tracemalloc.start()
    try:
        work()
        arrow = int(pa.default_memory_pool().max_memory()) - before
        return max(tracemalloc.get_traced_memory()[1], arrow)
    finally:
        tracemalloc.stop()
