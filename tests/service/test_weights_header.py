"""A safetensors header is checked without reading a tensor."""

import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from service.errors import Unprocessable
from service.weights_header import check_weights


def build(header: object, data: bytes) -> bytes:
    """Return a file with this header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def code_of(content: bytes) -> str | None:
    """Return the code with which a file is refused."""
    try:
        check_weights(io.BytesIO(content), len(content))
    except Unprocessable as error:
        return error.code
    return None


def test_what_the_library_writes_is_accepted() -> None:
    numpy = pytest.importorskip("numpy")
    tensors = {"a": numpy.zeros((2, 3), "float32"), "b": numpy.ones(4, "int64")}
    content = save(tensors, {"made_by": "test"})
    header = check_weights(io.BytesIO(content), len(content))
    assert (header.num_tensors, header.num_values) == (2, 10)
    assert header.metadata == {"made_by": "test"}


def test_every_cut_is_noticed() -> None:
    content = build({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8))
    assert code_of(content) is None
    for length in range(8, len(content)):
        assert code_of(content[:length]) == "weights_truncated"


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]},
        "F32",
        None,
    ],
)
def test_entries_that_make_no_sense_are_refused(entry: object) -> None:
    assert code_of(build({"w": entry}, bytes(8))) == "weights_not_safetensors"


def test_overlaps_and_leftovers_are_refused() -> None:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert code_of(build({"a": tensor, "b": tensor}, bytes(8))) == "weights_not_safetensors"
    assert code_of(build({"a": tensor}, bytes(9))) == "weights_not_safetensors"
    assert code_of(build({}, b"")) == "weights_not_safetensors"


@given(st.binary(max_size=200))
def test_noise_is_refused_with_a_code(content: bytes) -> None:
    assert code_of(content) in {"weights_not_safetensors", "weights_truncated"}
