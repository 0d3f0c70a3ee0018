"""Reading samples: hostile bytes are refused by name of their fault, sound ones become tensors."""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unlearning.data import StreamedImages, TensorImages
from worker import loading, memory
from worker.errors import UsageFailure
from worker.loading import ImageReader, Preprocessing, Samples, load_images
from worker.packaging import write_samples

GREY = Preprocessing(mean=(0.5,), std=(0.25,), size=(4, 6), channels=1)
COLOUR = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3, size=(4, 6), channels=3)


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def random_png(seed: int, shape: tuple[int, ...] = (4, 6)) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def samples_of(root: Path, entries: list[tuple[str, str]]) -> Samples:
    rows = [(i, 10 + i, uri, digest, i % 2, "retain") for i, (uri, digest) in enumerate(entries)]
    write_samples(rows, root / "samples.arrow")
    return Samples.read(root / "samples.arrow")


def load(
    root: Path, entries: list[tuple[str, str]], preprocessing: Preprocessing = GREY
) -> torch.Tensor:
    samples = samples_of(root, entries)
    reader = ImageReader(root / "data", preprocessing)
    images = load_images(samples, reader, preprocessing, num_classes=2, device="cpu", threads=2)
    assert isinstance(images, TensorImages)
    return images.images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


def put(root: Path, name: str, content: bytes) -> tuple[str, str]:
    (root / "data" / name).write_bytes(content)
    return name, sha256(content)


def code_of(root: Path, entries: list[tuple[str, str]]) -> str:
    with pytest.raises(UsageFailure) as caught:
        load(root, entries)
    return caught.value.code


def test_images_keep_pixels_and_order(root: Path) -> None:
    contents = [random_png(seed) for seed in range(5)]
    loaded = load(root, [put(root, f"{i}.png", content) for i, content in enumerate(contents)])
    expected = [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
    assert np.array_equal(loaded[:, 0].numpy(), np.stack(expected))


def test_colour_is_channels_first(root: Path) -> None:
    content = random_png(1, (4, 6, 3))
    loaded = load(root, [put(root, "a.png", content)], COLOUR)
    expected = np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)
    assert np.array_equal(loaded[0].numpy(), expected)


def test_another_size_and_mode_are_converted(root: Path) -> None:
    loaded = load(root, [put(root, "a.png", random_png(1, (9, 9, 3)))])
    assert loaded.shape == (1, 1, 4, 6)


def test_sixteen_bit_grey_keeps_its_upper_byte(root: Path) -> None:
    deep = (np.arange(24, dtype=np.uint16) * 2600).reshape(4, 6)
    loaded = load(root, [put(root, "a.png", png(deep))])
    assert np.array_equal(loaded[0, 0].numpy(), (deep >> 8).astype(np.uint8))


def test_parquet_rows_are_read_by_number(root: Path) -> None:
    contents = [random_png(seed) for seed in range(3)]
    column = [{"bytes": content, "path": None} for content in contents]
    pq.write_table(pa.table({"label": [0, 1, 0], "image": column}), root / "data" / "t.parquet")
    loaded = load(root, [(f"t.parquet#{row}", sha256(contents[row])) for row in (2, 0)])
    expected = [np.asarray(Image.open(io.BytesIO(contents[row]))) for row in (2, 0)]
    assert np.array_equal(loaded[:, 0].numpy(), np.stack(expected))


def test_large_sets_are_streamed_with_the_same_pixels(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [put(root, f"{i}.png", random_png(i)) for i in range(4)]
    whole = load(root, entries)
    monkeypatch.setattr(memory, "RESIDENT_SHARE", 0.0)
    samples = samples_of(root, entries)
    reader = ImageReader(root / "data", GREY)
    streamed = load_images(samples, reader, GREY, num_classes=2, device="cpu", threads=1)
    assert isinstance(streamed, StreamedImages)
    expected = TensorImages(whole, samples.labels, 2, GREY.mean, GREY.std)
    index = torch.tensor([3, 1])
    assert torch.equal(streamed.batch(index), expected.batch(index))


def test_bytes_that_are_no_image_are_refused(root: Path) -> None:
    assert code_of(root, [put(root, "a.png", b"GIF89a but not really")]) == "image_undecodable"


def test_a_truncated_image_is_refused(root: Path) -> None:
    assert code_of(root, [put(root, "a.png", random_png(1)[:50])]) == "image_undecodable"


def test_a_decompression_bomb_is_refused_before_it_is_decoded(root: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    bomb += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
    assert code_of(root, [put(root, "a.png", bomb)]) == "image_undecodable"


def test_an_image_with_too_many_pixels_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MAX_PIXELS", 23)
    assert code_of(root, [put(root, "a.png", random_png(1))]) == "image_undecodable"


def test_a_changed_image_is_refused(root: Path) -> None:
    name, _ = put(root, "a.png", random_png(1))
    assert code_of(root, [(name, sha256(b"other"))]) == "image_digest_mismatch"


def test_a_missing_image_is_refused(root: Path) -> None:
    assert code_of(root, [("nowhere.png", sha256(b""))]) == "image_missing"


def test_a_missing_parquet_row_is_refused(root: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"]}), root / "data" / "t.parquet")
    assert code_of(root, [("t.parquet#1", sha256(b"x"))]) == "image_missing"


@pytest.mark.parametrize("uri", ["../secret.png", "/etc/hostname", "link.png", "folder/x.png"])
def test_nothing_outside_the_root_is_opened(root: Path, uri: str) -> None:
    secret = root / "secret.png"
    secret.write_bytes(random_png(1))
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "x.png").write_bytes(random_png(1))
    (root / "data" / "link.png").symlink_to(secret)
    (root / "data" / "folder").symlink_to(root / "elsewhere")
    assert code_of(root, [(uri, sha256(random_png(1)))]) == "image_outside_root"


@pytest.mark.parametrize("uri", ["", ".", "a\0b.png", "loop"])
def test_what_is_no_file_is_missing(root: Path, uri: str) -> None:
    (root / "data" / "loop").symlink_to("loop")
    assert code_of(root, [(uri, sha256(b""))]) == "image_missing"


def test_the_detail_counts_and_names_no_sample(root: Path) -> None:
    entries = [put(root, "canary-1.png", random_png(1)), ("canary-2.png", sha256(b""))]
    with pytest.raises(UsageFailure) as caught:
        load(root, entries)
    assert caught.value.detail.startswith("1 of 2 images")
    assert "canary" not in caught.value.detail


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 60))
def test_damaged_images_never_raise_anything_else(noise: bytes, position: int) -> None:
    sound = random_png(1)
    damaged = sound[:position] + noise + sound[position + len(noise) :]
    assert outcome_of(damaged) in {"(1, 4, 6)", "image_undecodable"}


def outcome_of(content: bytes) -> str:
    try:
        return str(loading.decode(content, GREY).shape)
    except loading._Rejected as rejected:
        return rejected.code
