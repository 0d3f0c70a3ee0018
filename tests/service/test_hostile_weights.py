"""Hostile weights before registration: read by their header alone, or refused at small cost."""

import io
import json
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import Unprocessable
from service.weights_header import check_weights
from tests.service.hostile_files import mutated, peak_of


def weights(header: object, data: bytes = bytes(8)) -> bytes:
    """Return a safetensors file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


SOUND_WEIGHTS = weights({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})


def refusal(content: bytes) -> str:
    """Return the code with which weights are refused, empty where they are not."""
    try:
        check_weights(io.BytesIO(content), len(content))
    except Unprocessable as error:
        return error.code if len(error.detail) < 300 else "no words"
    return ""


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False))
def test_damaged_weights_are_read_or_refused(chance: random.Random) -> None:
    codes = {"", "weights_not_safetensors", "weights_truncated"}
    assert refusal(mutated(SOUND_WEIGHTS, chance)) in codes


def tensor(**changes: object) -> dict[str, object]:
    """Return a header with one tensor that is changed."""
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + bytes(8),
        struct.pack("<Q", 90_000_000) + bytes(8),
        weights(tensor(shape=[2**62] * 60)),
        weights(tensor(shape=[2**40] * 100_000)),
        weights(tensor(shape=[1] * 100_000)),
        weights(tensor(shape=[10**4000])),
        weights(tensor(data_offsets=[0, 2**64])),
        weights(tensor(data_offsets=[8, 0])),
        weights(tensor(shape=[True, 2])),
        weights(b"[" * 100_000),
        weights(b'{"w": NaN}'),
        weights(b'{"w": ' + b"9" * 5000 + b"}"),
        b"PK\x03\x04" + bytes(100),
        b"\x80\x04\x95" + bytes(100),
    ],
    ids=lambda content: f"{len(content)} bytes of {content[8:24]!r}",
)
def test_weights_that_declare_too_much_cost_nothing(content: bytes) -> None:
    found: list[str] = []
    assert peak_of(lambda: found.append(refusal(content))) < 50 << 20
    assert found[0] in {"weights_not_safetensors", "weights_truncated"}
