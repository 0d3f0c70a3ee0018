"""A corpus of hostile images and weights in the worker: decoded, or refused by a code."""

import io
import json
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from tests.service.hostile_files import mutated, peak_of, repeated
from unlearning.errors import WeightsRejected
from unlearning.weights import load_weights, save_weights
from worker import loading
from worker.loading import ImageReader, Preprocessing

COLOUR = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3, size=(8, 8), channels=3)
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


def image(kind: str) -> bytes:
    """Return a sound image of a format."""
    pixels = np.random.default_rng(1).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


SOUND = {kind: image(kind) for kind in FORMATS}


def outcome_of(content: bytes) -> str:
    """Return the shape of the decoded image, or the code of the refusal."""
    try:
        return str(loading.decode(content, COLOUR).shape)
    except loading._Rejected as rejected:
        return rejected.code


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMATS), st.randoms(use_true_random=False))
def test_a_damaged_image_is_decoded_or_refused(kind: str, chance: random.Random) -> None:
    assert outcome_of(SOUND[kind]) == "(3, 8, 8)"
    assert outcome_of(mutated(SOUND[kind], chance)) in {"(3, 8, 8)", "image_undecodable"}


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a grey PNG that declares a size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IEND", b"")


ZEROS = zlib.compress(bytes(50_000_000), 9)
BOMBS = {
    "a text that unpacks to 50 MB": png_of(4, 4, chunk(b"zTXt", b"a\0\0" + ZEROS)),
    "a profile that unpacks to 50 MB": png_of(4, 4, chunk(b"iCCP", b"a\0\0" + ZEROS)),
    "more pixels than its size": png_of(4, 4, chunk(b"IDAT", ZEROS)),
    "no pixel": png_of(0, 0, chunk(b"IDAT", zlib.compress(b""))),
    "a side without end": png_of(2**31 - 1, 1, chunk(b"IDAT", ZEROS)),
    "a PPM of terabytes": b"P6 999999 999999 255\n" + bytes(100),
    "a GIF of the largest size": b"GIF89a\xff\xff\xff\xff\x00\x00\x00;",
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_far_more_is_refused(name: str) -> None:
    found: list[str] = []
    assert peak_of(lambda: found.append(outcome_of(BOMBS[name]))) < 80 << 20
    assert found[0] in {"image_undecodable", "(3, 8, 8)"}


def test_an_image_that_is_named_many_times_is_held_once(tmp_path: Path) -> None:
    number, content = 20_000, bytes(1_000_000)
    table = pa.table({"image": repeated(content, number)})
    pq.write_table(table, tmp_path / "t.parquet", compression="zstd", store_schema=False)
    reader = ImageReader(tmp_path, COLOUR)
    found: list[bytes] = []
    assert peak_of(lambda: found.append(reader._content("t.parquet#19999"))) < 100 << 20
    assert found == [content]


# weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "sound.safetensors"
    save_weights(network(), path, {"made_by": "test"})
    return path


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def load_code(path: Path) -> str:
    """Return the code of the refusal; the network must then be as it was."""
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        load_weights(model, path)
    except WeightsRejected as error:
        unchanged = [torch.equal(value, before[name]) for name, value in model.state_dict().items()]
        return error.code if all(unchanged) else "half loaded"
    return ""


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_damaged_weights_load_whole_or_not_at_all(saved: Path, chance: random.Random) -> None:
    damaged = saved.with_name("damaged.safetensors")
    damaged.write_bytes(mutated(saved.read_bytes(), chance))
    codes = {"not_safetensors", "truncated", "mismatch", "not_finite"}
    assert load_code(damaged) in {"", *(f"weights_{code}" for code in codes)}


@pytest.mark.parametrize("side", ["1e999", "NaN", str(2**70), "9" * 5000, '"2"', "[2]", "-2"])
def test_shapes_that_are_no_counts_are_refused(tmp_path: Path, side: str) -> None:
    entry = {"dtype": "F32", "shape": ["SIDE"], "data_offsets": [0, 8]}
    header = json.dumps({"0.weight": entry}).replace('"SIDE"', side).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert load_code(path) in {"weights_not_safetensors", "weights_mismatch"}
