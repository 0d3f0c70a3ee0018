"""Sound bodies of calls that create, so that one hostile value in them gets as far as it can."""

import random
import uuid
from collections.abc import Mapping
from typing import Any

from tests.service.http.opendsr.conftest import DOMAIN, order
from tests.service.http.walking import BODIES


def sound_body(path: str, known: Mapping[str, str], chance: random.Random) -> dict[str, Any] | None:
    """Return a body that the path takes, None where no such is known."""
    name = f"made {chance.getrandbits(40)}"
    sample = f"s{chance.randrange(12)}"
    target = {"model_id": known["model_id"], "sample_ids": [sample], "policy": "first-look"}
    ladder = [{"method": "muda", "hyperparameters": {"epochs": 2}}, "retrain"]
    opendsr = order(f"p{chance.randrange(6)}", extensions={DOMAIN: {**target, "ladder": ladder}})
    opendsr["subject_request_id"] = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    opendsr["status_callback_urls"] = ["http://127.0.0.1:9/x"]
    preprocessing = {"mean": [0.5], "std": [0.5], "size": [4, 4], "channels": 1}
    model = {
        "name": name,
        "dataset_id": known["dataset_id"],
        "architecture": "expunge:mlp",
        "architecture_kwargs": {"hidden": [8], "in_features": 16},
        "preprocessing": preprocessing,
        "classifier": "fc",
        "recipe": {"epochs": 2, "peak_lr": 0.1, "init": "random"},
        "weights_uri": "weights.safetensors",
    }
    bodies: dict[str, dict[str, Any]] = {
        "/v1/datasets": {
            "name": name,
            "manifest_uri": "manifest.csv",
            "format": "csv",
            "class_names": ["cat", "dog"],
        },
        "/v1/models": model,
        "/v1/deletion-requests": {
            **target,
            "subject_ids": ["p1"],
            "labels": [0],
            "subject_request_id": name,
            "submitted_time": "2026-11-17T09:05:00Z",
            "ladder": ladder,
            "dry_run": chance.random() < 0.5,
        },
        "/v1/audits": {**target, "label": name, "weights_uri": "weights.safetensors"},
        "/v1/opendsr/requests": opendsr,
        "/v1/webhook-endpoints": {
            "url": "http://127.0.0.1:9/x",
            "event_types": ["request.completed"],
            "description": name,
        },
        "/v1/keys": {"name": name, "scopes": ["models:read"], "expires_at": "2030-01-01T00:00:00Z"},
    }
    found = bodies.get(path, BODIES.get(path))
    return None if found is None else dict(found)
