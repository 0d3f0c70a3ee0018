"""Models over HTTP: weights come in unopened and go out by digest."""

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.http.conftest import safetensors
from tests.service.http.test_errors import problem
from tests.service.ledger.world import World

PREPROCESSING = {"mean": [0.5], "std": [0.5], "size": [8, 8], "channels": 1}


def order(world: World, **fields: object) -> dict[str, Any]:
    """Return a valid order."""
    return {
        "name": "m",
        "dataset_id": str(world.dataset_id),
        "architecture": "expunge:mlp",
        "preprocessing": PREPROCESSING,
        "recipe": {"epochs": 2},
        "weights_uri": "weights.safetensors",
        **fields,
    }


def test_a_model_is_registered_checked_and_served(
    client: TestClient, world: World, data: Path
) -> None:
    response = client.post("/v1/models", json=order(world))
    assert response.status_code == 201, response.text
    model = response.json()
    assert (model["status"], model["current_version"]) == ("registering", None)
    assert model["recipe"]["momentum"] == 0.9
    world.work()
    model = client.get(response.headers["location"]).json()
    assert (model["status"], model["current_version"]) == ("ready", 1)
    (version,) = client.get(f"/v1/models/{model['id']}/versions").json()["items"]
    weights = client.get(version["weights_url"])
    content = (data / "weights.safetensors").read_bytes()
    assert weights.content == content
    assert version["sha256"] == hashlib.sha256(content).hexdigest()
    assert weights.headers["etag"] == f'"{version["sha256"]}"'
    assert weights.headers["content-digest"].startswith("sha-256=:")


def test_weights_are_served_in_ranges(client: TestClient, world: World, data: Path) -> None:
    model = client.post("/v1/models", json=order(world)).json()
    content = (data / "weights.safetensors").read_bytes()
    url = f"/v1/models/{model['id']}/versions/1/weights"
    for wanted, expected in (
        ("bytes=0-7", content[:8]),
        ("bytes=8-", content[8:]),
        ("bytes=-4", content[-4:]),
        ("bytes=4-99999", content[4:]),
    ):
        part = client.get(url, headers={"Range": wanted})
        assert part.status_code == 206
        assert part.content == expected
        assert part.headers["content-range"].endswith(f"/{len(content)}")
    beyond = client.get(url, headers={"Range": "bytes=99999-"})
    problem(beyond, 416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    etag = client.get(url).headers["etag"]
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 304
    stale = client.get(url, headers={"Range": "bytes=0-7", "If-Range": '"old"'})
    assert stale.status_code == 200


def test_weights_can_be_uploaded(client: TestClient, world: World) -> None:
    fields = order(world)
    del fields["weights_uri"]
    files = {
        "model": ("m", json.dumps(fields).encode(), "application/json"),
        "weights": ("w.safetensors", safetensors(), "application/octet-stream"),
    }
    response = client.post("/v1/models", files=files)
    assert response.status_code == 201, response.text


def test_weights_come_by_exactly_one_way(client: TestClient, world: World) -> None:
    fields = order(world)
    del fields["weights_uri"]
    problem(client.post("/v1/models", json=fields), 422, "invalid_request")


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps({"w": 1}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (pickle.dumps({"w": 1}), "weights_not_safetensors"),
        (_zip(), "weights_not_safetensors"),
        (b"", "weights_not_safetensors"),
        (b"\xff" * 64, "weights_not_safetensors"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00[]", "weights_not_safetensors"),
        (safetensors()[:-1], "weights_truncated"),
        (safetensors()[:20], "weights_truncated"),
    ],
    ids=["pickle", "zip", "empty", "noise", "list", "tensors cut off", "header cut off"],
)
def test_what_is_no_whole_safetensors_file_is_refused(
    client: TestClient, world: World, data: Path, content: bytes, code: str
) -> None:
    (data / "weights.safetensors").write_bytes(content)
    problem(client.post("/v1/models", json=order(world)), 422, code)
    assert len(client.get("/v1/models").json()["items"]) == 1


def test_weights_of_another_digest_are_refused(client: TestClient, world: World) -> None:
    body = order(world, weights_sha256="0" * 64)
    problem(client.post("/v1/models", json=body), 422, "weights_digest_mismatch")


def test_weights_outside_the_roots_are_refused(client: TestClient, world: World) -> None:
    outside = client.post("/v1/models", json=order(world, weights_uri="/etc/passwd"))
    problem(outside, 422, "path_outside_roots")
    missing = client.post("/v1/models", json=order(world, weights_uri="none.safetensors"))
    problem(missing, 422, "weights_not_found")


def test_a_model_whose_weights_do_not_fit_says_why(client: TestClient, world: World) -> None:
    url = client.post("/v1/models", json=order(world)).headers["location"]
    claim = world._next_claim()
    assert claim is not None
    world.fail(claim, code="weights_mismatch")
    model = client.get(url).json()
    assert (model["status"], model["reason_code"]) == ("failed", "weights_mismatch")


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("architecture", "os:system", "/architecture"),
        ("recipe", {"epochs": 0}, "/recipe/epochs"),
        ("recipe", {"init": "IMAGENET1K_V1"}, "/recipe/init"),
        ("recipe", {"steps": 1}, "/recipe/steps"),
        ("preprocessing", {**PREPROCESSING, "std": [0.0]}, "/preprocessing/std/0"),
        ("preprocessing", {**PREPROCESSING, "channels": 3}, "/preprocessing"),
    ],
)
def test_a_senseless_model_is_refused(
    client: TestClient, world: World, field: str, value: object, pointer: str
) -> None:
    response = client.post("/v1/models", json=order(world, **{field: value}))
    document = problem(response, 422, "invalid_request")
    assert document["errors"][0]["pointer"] == pointer
