"""`expunge up` as a user meets it: one command, then a request from wish to verified report."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

CLASSES, SAMPLES = 2, 24


def write_data(folder: Path) -> None:
    """Write images of 2×2 pixels as PGM files, a manifest, and the weights of a linear layer."""
    folder.mkdir(parents=True)
    rows = ["sample_id,label,split,uri,sha256"]
    for number in range(SAMPLES):
        label = number % CLASSES
        content = b"P5 2 2 255\n" + bytes([200 * label + number % 7] * 4)
        (folder / f"{number}.pgm").write_bytes(content)
        split = "train" if number < SAMPLES - 8 else "holdout"
        digest = hashlib.sha256(content).hexdigest()
        rows.append(f"id-{number},{label},{split},{number}.pgm,{digest}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    weights = np.zeros((CLASSES, 4), np.float32)
    tensors = {"head.weight": weights, "head.bias": np.zeros(CLASSES, np.float32)}
    save_file(tensors, folder / "w.safetensors")


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Run `expunge up` on an empty home."""
    for name in list(os.environ):
        if name.startswith("EXPUNGE_"):
            monkeypatch.delenv(name)
    write_data(tmp_path / "home" / "data" / "tiny")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EXPUNGE_URL", f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "service.cli", "up", "--port", str(port), "--workers", "1"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True)
    while "Expunge runs at" not in (tmp_path / "log").read_text():
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def expunge(*arguments: str, code: int = 0) -> Any:  # noqa: ANN401 - any JSON value
    command = [sys.executable, "-m", "service.cli", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_from_an_empty_folder_to_a_verified_report(
    stack: subprocess.Popen[str], tmp_path: Path
) -> None:
    data = tmp_path / "home" / "data" / "tiny"
    dataset = expunge("register-dataset", "tiny", "tiny/manifest.csv")
    preprocessing = {"mean": [0.5], "std": [0.5], "size": [2, 2], "channels": 1}
    model = expunge(
        *("register-model", "m", "--dataset", dataset["id"], "--architecture", "expunge:mlp"),
        *("--weights", str(data / "w.safetensors"), "--kwargs", '{"in_features":4,"hidden":[]}'),
        *("--preprocessing", json.dumps(preprocessing), "--recipe", '{"epochs":1,"shift":0}'),
    )
    assert model["status"] == "ready"
    missing = expunge("forget", model["id"], "--sample", "canary", code=1)
    assert missing["code"] == "unknown_samples"
    assert "canary" not in json.dumps(missing)
    wish = ("--sample", "id-1", "--method", "retrain", "--audit", "none", "--follow")
    request = expunge("forget", model["id"], *wish)
    assert request["verdict"] == "RETRAINED"
    assert expunge("status")[0]["id"] == request["id"]
    report = tmp_path / "report.dsse.json"
    expunge("report", request["id"], "--format", "dsse", "--output", str(report))
    starts = {"pdf": b"%PDF-1.7", "reply": b"Your reference", "bundle": b"PK", "renderings": b"{"}
    for form, start in starts.items():
        made = tmp_path / form
        expunge("report", request["id"], "--format", form, "--output", str(made))
        assert made.read_bytes().startswith(start)
    jwks = tmp_path / "jwks.json"
    url = os.environ["EXPUNGE_URL"]
    with urllib.request.urlopen(f"{url}/.well-known/jwks.json") as answer:  # noqa: S310 - our own
        jwks.write_bytes(answer.read())
    assert expunge("verify", str(report), "--jwks", str(jwks))["exit_code"] == 0
    report.write_bytes(report.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
    assert expunge("verify", str(report), "--jwks", str(jwks), code=1)["exit_code"] == 1
    stack.send_signal(signal.SIGTERM)
    assert stack.wait() == 0
