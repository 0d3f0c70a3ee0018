"""Data sets over HTTP: registered whole or not at all."""

import json
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.service.http.test_errors import problem
from tests.service.ledger.world import World


def register(client: TestClient, **fields: object) -> httpx2.Response:
    """Register a data set."""
    return client.post("/v1/datasets", json={"name": "d", "manifest_uri": "manifest.csv", **fields})


def test_a_manifest_is_registered_and_its_samples_are_found(client: TestClient) -> None:
    response = register(client)
    assert response.status_code == 201, response.text
    dataset = response.json()
    assert response.headers["location"] == f"/v1/datasets/{dataset['id']}"
    assert (dataset["num_train"], dataset["num_holdout"]) == (2, 1)
    assert client.get(response.headers["location"]).json() == dataset
    assert dataset in client.get("/v1/datasets").json()["items"]
    samples = f"/v1/datasets/{dataset['id']}/samples"
    assert [s["sample_id"] for s in client.get(samples).json()["items"]] == ["a", "b", "c"]
    found = client.get(samples, params={"label": 1, "split": "train"}).json()["items"]
    assert [sample["sample_id"] for sample in found] == ["b"]


def test_samples_come_in_pages(client: TestClient, world: World) -> None:
    url = f"/v1/datasets/{world.dataset_id}/samples"
    found: list[str] = []
    cursor = None
    while True:
        parameters = {"limit": "5", "split": "train"} | ({"cursor": cursor} if cursor else {})
        page = client.get(url, params=parameters).json()
        found += [sample["sample_id"] for sample in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 5
    assert found == [f"s{i}" for i in range(12)]
    people = client.get(url, params={"subject_id": "p1"}).json()["items"]
    assert [sample["sample_id"] for sample in people] == ["s2", "s3"]


def test_a_name_is_taken_once(client: TestClient) -> None:
    register(client)
    problem(register(client), 409, "name_taken")


def test_a_manifest_can_be_uploaded(client: TestClient, data: Path) -> None:
    order = json.dumps({"name": "up", "root": str(data)}).encode()
    files = {
        "dataset": ("d", order, "application/json"),
        "manifest": ("m.csv", (data / "manifest.csv").read_bytes(), "text/csv"),
    }
    response = client.post("/v1/datasets", files=files)
    assert response.status_code == 201, response.text
    assert response.json()["manifest_uri"].startswith("sha256/")


def test_an_uploaded_manifest_needs_its_root(client: TestClient) -> None:
    files = {"dataset": ("d", b'{"name": "up"}'), "manifest": ("m.csv", b"sample_id\n")}
    document = problem(client.post("/v1/datasets", files=files), 422, "invalid_request")
    assert document["errors"][0]["pointer"] == "/root"


@pytest.mark.parametrize(
    ("lines", "code", "counts"),
    [
        (["sample_id,label,uri", "a,0,images/a.png"], "manifest_columns_missing", None),
        (
            ["sample_id,label,split,uri", *["a,0,train,images/a.png"] * 3],
            "manifest_rows_invalid",
            {"duplicate_sample_id": 2},
        ),
        (
            ["sample_id,label,split,uri", "a,2,train,images/a.png", "b,-1,train,images/b.png"],
            "manifest_rows_invalid",
            {"label_out_of_range": 2},
        ),
        (
            ["sample_id,label,split,uri", "a,0,both,images/a.png"],
            "manifest_rows_invalid",
            {"bad_split": 1},
        ),
        (
            ["sample_id,label,split,uri", "a,0,train,../secret", "b,0,train,/etc/passwd"],
            "manifest_rows_invalid",
            {"path_outside_root": 2},
        ),
        (
            ["sample_id,label,split,uri", "a,0,train,images/none.png"],
            "manifest_rows_invalid",
            {"file_missing": 1},
        ),
        (["sample_id,label,split,uri"], "manifest_empty", None),
    ],
)
def test_a_faulty_manifest_is_refused_with_counts(
    client: TestClient, data: Path, lines: list[str], code: str, counts: dict[str, int] | None
) -> None:
    (data / "manifest.csv").write_text("\n".join(lines))
    document = problem(register(client, class_names=["x", "y"]), 422, code)
    if counts is not None:
        assert document["counts"] == counts
        assert document["errors"][0]["pointer"].startswith("/rows/")
    assert client.get("/v1/datasets", params={"limit": 5}).json()["items"][0]["name"] == "photos"


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "../manifest.csv", "file:///etc/passwd", "http://169.254.169.254/x"]
)
def test_a_manifest_outside_the_data_roots_is_never_read(client: TestClient, uri: str) -> None:
    problem(register(client, manifest_uri=uri), 422, "path_outside_roots")


def test_a_manifest_that_is_not_there_is_told(client: TestClient) -> None:
    problem(register(client, manifest_uri="none.csv"), 422, "manifest_not_found")
