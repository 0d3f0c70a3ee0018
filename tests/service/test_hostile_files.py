"""A corpus of hostile manifests, made from sound ones: refused in words, at small cost.

Every case runs with an allocation limit and is small itself: what it unpacks to is the danger.
"""

import hashlib
import io
import json
import random
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import manifest_rows, manifests
from service.errors import Unprocessable
from service.manifest_files import ParquetImages
from service.manifests import FORMATS, Manifest, ManifestRejected, read_manifest
from service.problem_catalog import CATALOG
from tests.service.hostile_files import mutated, peak_of, repeated

FEW = settings(max_examples=60, deadline=None)
HEAD = "sample_id,label,split,uri"
SOUND_CSV = f"{HEAD}\na,0,train,images/a.png\nb,1,train,images/b.png\n".encode()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two images."""
    root = tmp_path_factory.mktemp("root")
    (root / "images").mkdir()
    for name in "ab":
        (root / "images" / f"{name}.png").write_bytes(name.encode())
    return root


def parquet(columns: dict[str, Any], **options: Any) -> bytes:  # noqa: ANN401 - pyarrow's own
    """Return a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


SOUND_PARQUET = parquet(
    {
        "sample_id": ["a", "b"],
        "label": [0, 1],
        "split": ["train", "train"],
        "uri": ["images/a.png", "images/b.png"],
        "subject_id": ["p", None],
    }
)


def read(root: Path, name: str, content: bytes, kind: str | None = None) -> Manifest | str:
    """Return the manifest that the bytes are, or the code of the refusal."""
    path = root / name
    path.write_bytes(content)
    try:
        return read_manifest(path, root, kind, None)
    except Unprocessable as error:
        return error.code if len(error.detail) < 500 and error.code in CATALOG else "no words"
    finally:
        path.unlink()


# manifests


@FEW
@given(st.randoms(use_true_random=False), st.sampled_from([*FORMATS[:3], None]))
def test_a_damaged_parquet_file_is_read_or_refused(
    root: Path, chance: random.Random, kind: str | None
) -> None:
    found = read(root, "m.parquet", mutated(SOUND_PARQUET, chance), kind)
    assert isinstance(found, Manifest) or found.startswith("manifest_")


@FEW
@given(st.randoms(use_true_random=False))
def test_a_damaged_csv_file_is_read_or_refused(root: Path, chance: random.Random) -> None:
    found = read(root, "m.csv", mutated(SOUND_CSV, chance))
    assert isinstance(found, Manifest) or found.startswith("manifest_")


CELLS: dict[str, tuple[str, str]] = {
    "a path that climbs": ("a,0,train,../secret.png", "path_outside_root"),
    "an absolute path": ("a,0,train,/etc/passwd", "path_outside_root"),
    "a URL": ("a,0,train,file:///etc/passwd", "file_missing"),
    "a folder": ("a,0,train,images", "file_missing"),
    "a uri of a megabyte": (f"a,0,train,{'x' * 100_000}", "bad_uri"),
    "an endless label": (f"a,{'9' * 5000},train,images/a.png", "label_out_of_range"),
    "a label that is no number": ("a,NaN,train,images/a.png\nb,0,train,images/b.png", ""),
    "a negative label": ("a,-1,train,images/a.png", "label_out_of_range"),
    "an id that does not print": ("a\x07,0,train,images/a.png", "bad_sample_id"),
    "an endless id": (f"{'a' * 1000},0,train,images/a.png", "bad_sample_id"),
    "the row of a picture": ("a,0,train,images/a.png#7", "file_missing"),
    "a split of its own": ("a,0,both,images/a.png", "bad_split"),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_hostile_cell_is_counted_by_its_kind(root: Path, name: str) -> None:
    row, kind = CELLS[name]
    path = root / "m.csv"
    path.write_text(f"{HEAD}\n{row}\n")
    if not kind:
        assert read_manifest(path, root, None, None).class_names == ["0", "NaN"]
        return
    with pytest.raises(ManifestRejected) as caught:
        read_manifest(path, root, None, None)
    assert kind in caught.value.extensions["counts"]
    assert len(json.dumps(caught.value.errors)) < 5000


def test_a_subject_that_no_database_holds_is_a_fault(root: Path) -> None:
    columns = {"sample_id": ["a"], "label": [0], "split": ["train"], "uri": ["images/a.png"]}
    for subject in ("p\0", "p" * 1000):
        path = root / "m.parquet"
        path.write_bytes(parquet({**columns, "subject_id": [subject]}))
        with pytest.raises(ManifestRejected) as caught:
            read_manifest(path, root, None, None)
        assert caught.value.extensions["counts"] == {"bad_subject_id": 1}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[["a"] * 10]]),
        pa.array([{"deep": {"er": 1}}]),
        pa.array([b"\xff\xfe"]).cast(pa.string(), safe=False),
        pa.array(["x" * 100_000]),
    ],
    ids=["lists", "structures", "no UTF-8", "an endless text"],
)
def test_columns_of_other_kinds_are_refused(root: Path, column: pa.Array) -> None:
    columns = {"sample_id": column, "label": [0], "split": ["train"], "uri": ["images/a.png"]}
    assert read(root, "m.parquet", parquet(columns)) == "manifest_unreadable"


def test_names_nested_without_end_are_no_names(root: Path) -> None:
    table = pa.table(
        {"sample_id": ["a"], "label": [0], "split": ["train"], "uri": ["images/a.png"]}
    )
    table = table.replace_schema_metadata({"huggingface": "[" * 100_000})
    path = root / "m.parquet"
    pq.write_table(table, path)
    assert read_manifest(path, root, None, None).class_names == ["0"]


# bombs: small files that unpack to gigabytes


def test_a_text_that_is_named_a_million_times_is_unpacked_once(root: Path) -> None:
    number = 20_000
    ids = [str(n) for n in range(number)]
    bomb = parquet(
        {
            "sample_id": ids,
            "label": [0] * number,
            "split": ["train"] * number,
            "uri": repeated("x" * 1_000_000, number),
        },
        compression="zstd",
    )
    assert len(bomb) < 200_000  # 20 GB of text
    assert peak_of(lambda: read(root, "m.parquet", bomb)) < 100 << 20


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_image_that_is_named_many_times_is_hashed_once(root: Path, wrapped: bool) -> None:
    number, image = 20_000, bytes(1_000_000)
    column = repeated(image, number)
    if wrapped:
        kind = pa.struct([("bytes", pa.dictionary(pa.int32(), pa.binary()))])
        column = pa.StructArray.from_arrays([column], fields=list(kind))
    path = root / "i.parquet"
    columns = {"label": [0] * number, "image": column}
    path.write_bytes(parquet(columns, compression="zstd", store_schema=False))
    digests: list[str] = []
    assert peak_of(lambda: digests.extend(ParquetImages(path).digests)) < 100 << 20
    assert digests == [hashlib.sha256(image).hexdigest()] * number


def test_more_rows_than_a_data_set_has_are_refused_by_the_footer(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 1_000_000
    columns = dict.fromkeys(("sample_id", "uri"), repeated("a", number))
    split = repeated("train", number)
    bomb = parquet({**columns, "label": pa.nulls(number, pa.int8()), "split": split})
    assert len(bomb) < 100_000
    for module in (manifests, manifest_rows):
        monkeypatch.setattr(module, "MAX_ROWS", 1)
    found: list[Manifest | str] = []
    assert peak_of(lambda: found.append(read(root, "m.parquet", bomb))) < 20 << 20
    assert found == ["manifest_too_large"]
    assert read(root, "m.csv", SOUND_CSV) == "manifest_too_large"


def test_pages_that_unpack_to_far_more_than_they_hold_are_refused(root: Path) -> None:
    texts = ["x" * 8000] * 20_000
    bomb = parquet(
        {"sample_id": texts, "label": [0] * len(texts)}, compression="zstd", use_dictionary=False
    )
    assert len(bomb) < 150_000  # 160 MB
    found: list[Manifest | str] = []
    assert peak_of(lambda: found.append(read(root, "m.parquet", bomb, "parquet"))) < 20 << 20
    assert found == ["manifest_unreadable"]


def test_a_footer_that_is_longer_than_the_file_is_refused(root: Path) -> None:
    content = SOUND_PARQUET[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1"
    assert read(root, "m.parquet", content) == "manifest_unreadable"


def test_faults_without_end_are_not_all_counted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_rows, "MAX_FAULTS", 10)
    path = root / "m.csv"
    path.write_text(f"{HEAD}\n" + "a,0,train,images/a.png\n" * 1000)
    with pytest.raises(ManifestRejected) as caught:
        read_manifest(path, root, None, None)
    assert sum(caught.value.extensions["counts"].values()) <= 12
