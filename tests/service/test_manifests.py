"""Manifests in every format are read row by row, and no path leaves its root."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.manifest_files import FileMissing, PathLeavesRoot, Root, resolve_uri
from service.manifests import Manifest, ManifestRejected, locate_manifest, read_manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with three images."""
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    for name in "abc":
        (root / "images" / f"{name}.png").write_bytes(name.encode())
    return root


def sha(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def read(path: Path, root: Path, class_names: list[str] | None = None) -> Manifest:
    """Read a manifest in whatever format it is."""
    return read_manifest(path, root, None, class_names)


def write(path: Path, columns: Mapping[str, object], metadata: object = None) -> Path:
    """Write a Parquet file."""
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path, row_group_size=2)
    return path


def test_csv_and_parquet_give_the_same_samples(root: Path) -> None:
    columns: dict[str, list[Any]] = {
        "sample_id": ["x1", "x2", "x3"],
        "label": [0, 2, 1],
        "split": ["train", "train", "holdout"],
        "file_name": [f"images/{name}.png" for name in "abc"],
        "subject_id": ["p", None, None],
    }
    parquet = read(write(root / "m.parquet", columns), root)
    lines = [
        ",".join("" if value is None else str(value) for value in row)
        for row in zip(*columns.values(), strict=True)
    ]
    (root / "m.csv").write_text("\n".join([",".join(columns), *lines]))
    assert read(root / "m.csv", root).rows == parquet.rows
    assert parquet.class_names == ["0", "1", "2"]
    assert [row.sha256 for row in parquet.rows] == [sha(name) for name in (b"a", b"b", b"c")]
    assert [row.subject_id for row in parquet.rows] == ["p", None, None]


def test_a_digest_that_is_given_is_kept_for_the_worker_to_check(root: Path) -> None:
    lines = ["sample_id,label,split,uri,sha256", f"x,0,train,images/a.png,{'AB' * 32}"]
    (root / "m.csv").write_text("\n".join(lines))
    assert read(root / "m.csv", root).rows[0].sha256 == "ab" * 32
    (root / "m.csv").write_text("\n".join([lines[0], "x,0,train,images/a.png,123"]))
    with pytest.raises(ManifestRejected) as caught:
        read(root / "m.csv", root)
    assert caught.value.extensions["counts"] == {"bad_sha256": 1}


def test_images_inside_parquet_are_samples_by_row(root: Path) -> None:
    images = [{"bytes": bytes([i]), "path": None} for i in range(5)]
    features = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    write(root / "train-0.parquet", {"img": images, "label": [0, 1, 0, 1, 1]}, features)
    write(root / "test-0.parquet", {"img": images[:2], "label": [0, 1]}, features)
    manifest = read(root, root)
    assert manifest.format == "image_parquet"
    assert manifest.class_names == ["cat", "dog"]
    assert [row.split for row in manifest.rows] == ["holdout"] * 2 + ["train"] * 5
    last = manifest.rows[-1]
    assert (last.sample_id, last.uri) == ("train-0-4", "train-0.parquet#4")
    assert last.sha256 == sha(bytes([4]))


def test_images_inside_parquet_keep_their_own_ids(root: Path) -> None:
    columns = {"sample_id": ["x"], "label": [0], "split": ["train"], "image": [b"png"]}
    (row,) = read(write(root / "d.parquet", columns), root).rows
    assert (row.sample_id, row.uri, row.sha256) == ("x", "d.parquet#0", sha(b"png"))


def test_an_image_folder_is_a_manifest(root: Path) -> None:
    for path in ("train/cat/1.jpg", "train/dog/2.PNG", "test/cat/3.jpg", "train/cat/notes.txt"):
        (root / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "set" / path).write_bytes(path.encode())
    manifest = read(root / "set", root)
    assert manifest.class_names == ["cat", "dog"]
    assert [(row.sample_id, row.label, row.split) for row in manifest.rows] == [
        ("test/cat/3.jpg", 0, "holdout"),
        ("train/cat/1.jpg", 0, "train"),
        ("train/dog/2.PNG", 1, "train"),
    ]
    assert manifest.rows[0].uri == "set/test/cat/3.jpg"


def test_rows_may_point_into_a_parquet_file(root: Path) -> None:
    write(root / "data.parquet", {"image": [b"one", b"two"]})
    lines = ["sample_id,label,split,uri", "x,0,train,data.parquet#1", "y,0,train,data.parquet#2"]
    (root / "m.csv").write_text("\n".join(lines))
    with pytest.raises(ManifestRejected) as caught:
        read(root / "m.csv", root)
    assert caught.value.errors[0]["pointer"] == "/rows/1/uri"
    (root / "m.csv").write_text("\n".join(lines[:2]))
    assert read(root / "m.csv", root).rows[0].sha256 == sha(b"two")


def test_class_names_give_labels_by_name_or_number(root: Path) -> None:
    lines = ["sample_id,label,split,uri", "x,dog,train,images/a.png", "y,0,train,images/b.png"]
    (root / "m.csv").write_text("\n".join(lines))
    manifest = read(root / "m.csv", root, class_names=["cat", "dog"])
    assert [row.label for row in manifest.rows] == [1, 0]
    with pytest.raises(ManifestRejected) as caught:
        read(root / "m.csv", root, class_names=["cat"])
    assert caught.value.extensions["counts"] == {"label_out_of_range": 1}


def test_all_faults_are_counted_and_the_first_shown(root: Path) -> None:
    rows = [f"x{i},-1,train,images/none.png" for i in range(30)]
    (root / "m.csv").write_text("\n".join(["sample_id,label,split,uri", *rows, ",0,train,x"]))
    with pytest.raises(ManifestRejected) as caught:
        read(root / "m.csv", root)
    counts = {"label_out_of_range": 30, "file_missing": 31, "bad_sample_id": 1}
    assert caught.value.extensions["counts"] == counts
    assert len(caught.value.errors) == 10


@pytest.mark.parametrize("name", ["m.txt", "m.parquet", "m.csv"])
def test_what_is_no_manifest_is_refused(root: Path, name: str) -> None:
    (root / name).write_bytes(b"\xff\xfe nothing")
    with pytest.raises(ManifestRejected) as caught:
        read(root / name, root)
    assert caught.value.code in {"manifest_unreadable", "manifest_columns_missing"}


def test_links_that_leave_the_root_are_refused(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x.png").write_bytes(b"secret")
    (root / "file.png").symlink_to(secret / "x.png")
    (root / "folder").symlink_to(secret)
    (root / "nowhere.png").symlink_to(tmp_path / "nowhere")
    (root / "inside.png").symlink_to(root / "images" / "a.png")
    files = Root(root)
    for uri in ("file.png", "folder/x.png", "nowhere.png", "folder/none.png"):
        with pytest.raises(PathLeavesRoot):
            files.check(uri)
        with pytest.raises(PathLeavesRoot):
            files.sha256(uri)
    assert files.sha256("inside.png") == sha(b"a")
    (root / "m.csv").symlink_to(secret / "x.png")
    with pytest.raises(ManifestRejected, match="outside"):
        locate_manifest("m.csv", None, [root])


@given(st.lists(st.sampled_from(["..", ".", "images", "a.png", "", "/", "~", "x"]), max_size=6))
def test_no_path_reads_anything_outside_its_root(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    base = tmp_path_factory.getbasetemp() / "containment"
    (base / "root" / "images").mkdir(parents=True, exist_ok=True)
    (base / "root" / "images" / "a.png").write_bytes(b"a")
    (base / "a.png").write_bytes(b"secret")
    try:
        found = Root(base / "root").sha256("/".join(parts))
    except ValueError:
        return
    assert found == sha(b"a")


def test_relative_paths_are_looked_for_in_every_root(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert resolve_uri("images/a.png", [other, root]) == root / "images" / "a.png"
    assert resolve_uri((root / "images").as_uri(), [other, root]) == root / "images"


def test_a_file_that_the_server_may_not_read_is_as_good_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed.csv").write_text("id,label")
    assert resolve_uri("closed.csv", [tmp_path]) == tmp_path / "closed.csv"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read whatever its mode says
    with pytest.raises(FileMissing):
        resolve_uri("closed.csv", [tmp_path])
