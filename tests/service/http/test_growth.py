"""Data sets grow over HTTP: by manifest, checked row by row, once, and never by what was erased."""

import io
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.http.conftest import MakeKey
from tests.service.http.test_commands import Expunge, expunge, printed  # noqa: F401 - fixtures
from tests.service.http.test_errors import problem

COLUMNS = "sample_id,label,split,uri"


@pytest.fixture
def dataset(client: TestClient, data: Path) -> str:
    """Return the path of a registered data set with the samples a, b and c."""
    order = {"name": "images", "manifest_uri": str(data / "manifest.csv")}
    return str(client.post("/v1/datasets", json=order).headers["location"])


def more(data: Path, *lines: str) -> dict[str, str]:
    """Write a manifest of these rows, and an image for d, and return the body that names it."""
    (data / "images" / "d.png").write_bytes(b"pixels of d")
    (data / "more.csv").write_text("\n".join([COLUMNS, *lines]))
    return {"manifest_uri": str(data / "more.csv")}


def registered(client: TestClient, data: Path, dataset: str, **fields: object) -> Any:  # noqa: ANN401 - an answer
    """Register a model on a data set and return the answer."""
    order = {
        "name": "own",
        "dataset_id": dataset.rpartition("/")[2],
        "architecture": "expunge:mlp",
        "preprocessing": {"mean": [0.5], "std": [0.5], "size": [8, 8], "channels": 1},
        "recipe": {"epochs": 1},
        "weights_uri": str(data / "weights.safetensors"),
        **fields,
    }
    return client.post("/v1/models", json=order)


def test_samples_are_added_as_a_revision_once(client: TestClient, data: Path, dataset: str) -> None:
    first = client.get(dataset).json()
    key = {"Idempotency-Key": "k"}
    body = more(data, "d,1,train,images/d.png")
    answer = client.post(f"{dataset}/samples", json=body, headers=key)
    assert answer.status_code == 201, answer.text
    again = client.post(f"{dataset}/samples", json=body, headers=key)
    assert again.json() == answer.json()
    made = client.get(answer.headers["location"])
    assert made.json() == answer.json()
    assert (made.json()["number"], made.json()["num_train"]) == (2, 3)
    now = client.get(dataset).json()
    assert (now["revision"], now["fingerprint"]) == (2, made.json()["fingerprint"])
    revisions = client.get(f"{dataset}/revisions").json()["items"]
    assert [row["fingerprint"] for row in revisions] == [first["fingerprint"], now["fingerprint"]]
    samples = client.get(f"{dataset}/samples").json()["items"]
    assert [sample["sample_id"] for sample in samples] == ["a", "b", "c", "d"]
    assert problem(client.get(f"{dataset}/revisions/3"), 404, "not_found")
    actions = [entry["action"] for entry in client.get("/v1/audit-log").json()["items"]]
    assert "dataset.grown" in actions


def test_a_manifest_can_be_uploaded(client: TestClient, data: Path, dataset: str) -> None:
    more(data)
    manifest = io.BytesIO(f"{COLUMNS}\nd,0,holdout,images/d.png".encode())
    files: Any = {"growth": (None, b"{}", "application/json"), "manifest": ("m.csv", manifest)}
    answer = client.post(f"{dataset}/samples", files=files)
    assert answer.status_code == 201, answer.text
    assert answer.json()["num_holdout"] == 2


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ("d,9,train,images/d.png", 422, "manifest_rows_invalid"),
        ("d,0,train,../outside.png", 422, "manifest_rows_invalid"),
        ("a,0,train,images/d.png", 409, "samples_exist"),
    ],
)
def test_one_bad_row_adds_nothing(
    client: TestClient, data: Path, dataset: str, *, line: str, status: int, code: str
) -> None:
    body = more(data, "e,0,train,images/d.png", line)
    document = problem(client.post(f"{dataset}/samples", json=body), status, code)
    assert document["errors"][0]["pointer"].startswith("/rows/1")
    assert client.get(dataset).json()["revision"] == 1


@pytest.mark.parametrize(
    "body", [{}, {"manifest_uri": "/etc/passwd"}, {"manifest_uri": "no.csv"}, {"name": "x"}]
)
def test_bad_bodies_are_refused(client: TestClient, dataset: str, body: dict[str, str]) -> None:
    assert client.post(f"{dataset}/samples", json=body).status_code == 422


def test_an_erased_sample_does_not_come_back(client: TestClient, data: Path, dataset: str) -> None:
    model = registered(client, data, dataset).json()
    wish = {"model_id": model["id"], "sample_ids": ["a"]}
    assert client.post("/v1/deletion-requests", json=wish).status_code == 202
    (data / "images" / "copy.png").write_bytes((data / "images" / "a.png").read_bytes())
    body = more(data, "d,1,train,images/d.png", "again,0,train,images/copy.png")
    refusal = problem(client.post(f"{dataset}/samples", json=body), 409, "erased_samples")
    assert (refusal["count"], refusal["by_id"], refusal["by_file"]) == (1, 0, 1)
    assert refusal["errors"] == [{"pointer": "/rows/1", "detail": "erased_samples"}]


def test_a_model_says_what_it_was_trained_on(client: TestClient, data: Path, dataset: str) -> None:
    client.post(f"{dataset}/samples", json=more(data, "d,1,train,images/d.png"))
    old = registered(client, data, dataset, name="old", dataset_revision=1).json()
    assert (old["dataset_revision"], old["suspect_samples"]) == (1, 0)
    problem(
        registered(client, data, dataset, name="new", dataset_revision=3), 422, "unknown_revision"
    )
    wish = {"model_id": old["id"], "sample_ids": ["a"]}
    assert client.post("/v1/deletion-requests", json=wish).status_code == 202
    for name, stated, suspect in (("x", None, 1), ("y", True, 1), ("z", False, 0)):
        made = registered(client, data, dataset, name=name, trained_on_erased=stated).json()
        assert (made["dataset_revision"], made["suspect_samples"]) == (2, suspect)


def test_only_a_writer_adds(client: TestClient, dataset: str, make_key: MakeKey) -> None:
    weak = {"Authorization": f"Bearer {make_key('datasets:read')}"}
    body = {"manifest_uri": "more.csv"}
    problem(client.post(f"{dataset}/samples", json=body, headers=weak), 403, "insufficient_scope")
    assert client.get(f"{dataset}/revisions", headers=weak).status_code == 200


def test_the_command_line_adds_samples(
    data: Path,
    dataset: str,
    expunge: Expunge,  # noqa: F811 - the fixture
) -> None:
    body = more(data, "d,1,train,images/d.png")
    words = ("grow", dataset.rpartition("/")[2], body["manifest_uri"])
    assert expunge(*words, "--format", "csv")["number"] == 2
