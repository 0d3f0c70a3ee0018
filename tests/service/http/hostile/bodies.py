"""Sound bodies of calls that create, so that one hostile value in them gets as far as it can."""

import random
import uuid
from collections.abc import Mapping
from typing import Any

from tests.service.http.opendsr.conftest import DOMAIN, order
from tests.service.http.walking import BODIES

LADDER = [{"method": "muda", "hyperparameters": {"epochs": 2}}, "retrain"]


def sound_body(path: str, known: Mapping[str, str], chance: random.Random) -> dict[str, Any] | None:
    """Return a body that the path takes, None where no such is known."""
    name = f"made {chance.getrandbits(40)}"
    if path == "/v1/opendsr/requests":
        return _opendsr(known, chance)
    target = {"model_id": known["model_id"], "sample_ids": [f"s{chance.randrange(12)}"]}
    target["policy"] = "first-look"
    more = {
        "subject_ids": ["p1"],
        "labels": [0],
        "subject_request_id": name,
        "submitted_time": "2026-11-17T09:05:00Z",
        "ladder": LADDER,
        "dry_run": chance.random() < 0.5,
    }
    hook = {"url": "http://127.0.0.1:9/x", "event_types": ["request.completed"]}
    dataset = {"manifest_uri": "manifest.csv", "format": "csv", "class_names": ["cat", "dog"]}
    key = {"scopes": ["models:read"], "expires_at": "2030-01-01T00:00:00Z"}
    bodies: dict[str, Mapping[str, object]] = {
        **BODIES,
        "/v1/datasets": {"name": name, **dataset},
        "/v1/models": _model(name, known["dataset_id"]),
        "/v1/deletion-requests": {**target, **more},
        "/v1/audits": {**target, "label": name, "weights_uri": "weights.safetensors"},
        "/v1/webhook-endpoints": {**hook, "description": name},
        "/v1/keys": {"name": name, **key},
    }
    return dict(bodies[path]) if path in bodies else None


def _model(name: str, dataset_id: str) -> dict[str, object]:
    return {
        "name": name,
        "dataset_id": dataset_id,
        "architecture": "expunge:mlp",
        "architecture_kwargs": {"hidden": [8], "in_features": 16},
        "preprocessing": {"mean": [0.5], "std": [0.5], "size": [4, 4], "channels": 1},
        "classifier": "fc",
        "recipe": {"epochs": 2, "peak_lr": 0.1, "init": "random"},
        "weights_uri": "weights.safetensors",
    }


def _opendsr(known: Mapping[str, str], chance: random.Random) -> dict[str, Any]:
    own = {"model_id": known["model_id"], "policy": "first-look", "ladder": LADDER}
    found = order(f"p{chance.randrange(6)}", extensions={DOMAIN: own})
    found["subject_request_id"] = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    found["status_callback_urls"] = ["http://127.0.0.1:9/x"]
    return found
