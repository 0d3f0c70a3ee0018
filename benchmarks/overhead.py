"""Measure what the service adds to a job: seconds, ratio on a job of a minute, and where they go.

    python -m benchmarks.overhead                     # writes benchmarks/results/overhead.json
    python -m benchmarks.overhead --long-seconds 5 --repeats 1 --output /tmp/overhead.json

The work is the retraining of a small CNN on scikit-learn's digits, asked for over HTTP on the
embedded stack (`expunge up`, one worker). From the transaction that queues the job to the one that
completes it, minus the bare library call with the same data, recipe and
threads in this process. The worker is warm: it has checked the model's weights before. A child runs
with its own allocator settings (`worker.forkserver`), the bare call with the platform's, so the
ratio can be below one.
"""

import argparse
import datetime as dt
import hashlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sqlalchemy import select

from benchmarks.da import processor
from service.client import ExpungeClient
from service.database import Database
from service.tables import Job, JobKind, Outbox
from unlearning.data import TensorImages
from unlearning.networks import build_network
from unlearning.recipe import Recipe
from unlearning.training import train_from_recipe
from unlearning.weights import save_weights

TRAIN = 1297
ARCHITECTURE = "expunge:small_cnn"
PREPROCESSING: dict[str, Any] = {"mean": [0.3], "std": [0.38], "size": [8, 8], "channels": 1}
GOAL_SECONDS, GOAL_RATIO = 4.0, 1.1
RESULTS = Path(__file__).parent / "results" / "overhead.json"


def write_data(folder: Path) -> TensorImages:
    """Write the digits as PNG files with a manifest; return the training set for the bare call."""
    folder.mkdir(parents=True)
    digits = load_digits()
    pixels = (digits.images * (255 / 16)).astype(np.uint8)
    lines = ["sample_id,label,split,uri,sha256"]
    for number, image in enumerate(pixels):
        path = folder / f"{number}.png"
        Image.fromarray(image).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        split = "train" if number < TRAIN else "holdout"
        lines.append(f"id-{number},{digits.target[number]},{split},{path.name},{digest}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return TensorImages(
        torch.from_numpy(pixels[:TRAIN])[:, None],
        torch.from_numpy(digits.target[:TRAIN]),
        10,
        PREPROCESSING["mean"],
        PREPROCESSING["std"],
    )


def bare_seconds(images: TensorImages, epochs: int) -> float:
    """Time the library's call alone."""
    start = time.perf_counter()
    build = partial(build_network, ARCHITECTURE, 10)
    train_from_recipe(build, images, Recipe(epochs=epochs), seed=1)
    return time.perf_counter() - start


@contextmanager
def stack(home: Path, threads: int) -> Iterator[ExpungeClient]:
    """Run `expunge up` with one worker and yield a client."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EXPUNGE_")}
    environment |= {"EXPUNGE_HOME": str(home), "EXPUNGE_THREADS": str(threads)}
    environment |= {"EXPUNGE_DEVICE": "cpu"}
    command = [sys.executable, "-m", "service.cli", "up", "--workers", "1", "--port", str(port)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        while b"Expunge runs at" not in (home / "log").read_bytes():
            if process.poll() is not None:
                raise RuntimeError((home / "log").read_text())
            time.sleep(0.1)
        key = (home / "admin.key").read_text().strip()
        with ExpungeClient(f"http://127.0.0.1:{port}", key) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def register(client: ExpungeClient, dataset_id: str, home: Path, name: str, epochs: int) -> str:
    """Register a model with a recipe of so many epochs and wait for its check."""
    weights = home / f"{name}.safetensors"
    save_weights(build_network(ARCHITECTURE, 10), weights, {})
    model = client.register_model(
        name,
        dataset_id,
        weights,
        upload=True,
        architecture=ARCHITECTURE,
        preprocessing=PREPROCESSING,
        recipe=Recipe(epochs=epochs).to_dict(),
    )
    return str(client.wait_for_model(model["id"])["id"])


def served_seconds(
    client: ExpungeClient, database: Database, model_id: str, number: int
) -> dict[str, float]:
    """Have one sample forgotten by retraining; return where the job's seconds went."""
    fields = {"ladder": ["retrain"], "audit": "none"}
    request = client.open_request(model_id, [f"id-{number}"], **fields)
    closed = client.wait(request["id"])
    if closed["status"] != "completed":
        raise RuntimeError(closed["reason"])
    query = select(Job).where(Job.kind == JobKind.UNLEARN).order_by(Job.id.desc()).limit(1)
    with database.read() as session:
        job = session.scalars(query).one()
        outbox = session.scalars(select(Outbox).where(Outbox.job_id == job.id)).first()
    if outbox is None or outbox.sent_at is None or job.started_at is None or job.result is None:
        raise RuntimeError("The job left no trace of its way.")
    if job.finished_at is None or job.attempt != 1:
        raise RuntimeError("The job was tried more than once.")
    steps: dict[str, float] = job.result["supervisor_seconds"]
    worked = (job.finished_at - job.started_at).total_seconds()
    method = float(job.result["seconds"])
    return {
        "total": (job.finished_at - outbox.created_at).total_seconds(),
        "queued_to_sent": (outbox.sent_at - outbox.created_at).total_seconds(),
        "sent_to_claimed": (job.started_at - outbox.sent_at).total_seconds(),
        "package": steps["package"],
        "child_but_method": steps["child"] - method,
        "method": method,
        "publish": steps["publish"],
        "complete": worked - sum(steps.values()),
    }


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each part."""
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Measure a short job several times and a long one."""
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(prefix="expunge-overhead-") as name:
        home = Path(name)
        images = write_data(home / "data" / "digits")
        bare_seconds(images, 1)
        per_epoch = bare_seconds(images, 10) / 10
        long_epochs = max(1, round(arguments.long_seconds / per_epoch))
        with (
            stack(home, arguments.threads) as client,
            closing(Database(f"sqlite:///{home / 'expunge.db'}")) as database,
        ):
            dataset = client.register_dataset("digits", "digits/manifest.csv")
            serve = partial(served_seconds, client, database)
            short = register(client, dataset["id"], home, "short", 1)
            short_runs = [serve(short, number) for number in range(arguments.repeats)]
            short_bare = [bare_seconds(images, 1) for _ in short_runs]
            long = register(client, dataset["id"], home, "long", long_epochs)
            long_bare = [bare_seconds(images, long_epochs)]
            long_run = serve(long, arguments.repeats)
            long_bare.append(bare_seconds(images, long_epochs))
    added = [run["total"] - statistics.median(short_bare) for run in short_runs]
    return {
        "benchmark": "overhead",
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "short_job": medians(short_runs) | {"bare": round(statistics.median(short_bare), 3)},
        "added_seconds": summary(added) | {"goal": GOAL_SECONDS},
        "long_job": medians([long_run]) | {"bare": [round(value, 3) for value in long_bare]},
        "ratio": {
            "value": round(long_run["total"] / statistics.mean(long_bare), 4),
            "goal": GOAL_RATIO,
        },
        **environment(),
    }


def summary(values: list[float]) -> dict[str, float]:
    """Return median and range."""
    numbers = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 3) for name, value in numbers.items()}


def environment() -> dict[str, object]:
    """Return what the figures depend on besides the code."""
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--long-seconds", type=float, default=60.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, print and write."""
    arguments = parse()
    report = run(arguments)
    text = json.dumps(report, indent=2)
    print(text)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
