"""A stream of small, real deletion requests through the API, which may be away at any moment."""

import hashlib
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from service.client import ExpungeClient, ExpungeProblem
from tests.chaos.installation import Installation
from tests.worker.installation import KWARGS, PREPROCESSING, image_of, write_weights

CLASSES = 3
TRAIN, HOLDOUT = 600, 60
MODELS = 3
EPOCHS = 20
IN_FLIGHT = 8
FULL_AUDITS = 0.1  # of all requests; the others are retrained without references
TAKEN = ("already_requested", "already_erased")
PAUSE_S = 0.2


class Load:
    """Keep a few requests in flight; each names one sample that its model has not lost yet.

    Attributes:
        asked: How many requests were sent for, by their `subject_request_id`; every one is repeated
            until the API has answered, so the ledger must hold each exactly once.
    """

    def __init__(self, installation: Installation, seed: int) -> None:
        self._client = ExpungeClient(installation.url, installation.key)
        self._random = random.Random(seed)  # noqa: S311 - a reproducible choice, no secret
        self._root = installation.settings.data_roots[0]
        self._models: list[str] = []
        self._next: Counter[str] = Counter()
        self._waiting: dict[str, Any] | None = None
        self.asked: set[str] = set()

    def prepare(self) -> None:
        """Register the data set and the models; their checks are jobs as well."""
        write_data(self._root)
        dataset = self._client.register_dataset("tiny", self._root / "manifest.csv")
        for number in range(MODELS):
            path = write_weights(self._root / f"{number}.safetensors")
            made = self._client.register_model(
                *(f"model-{number}", dataset["id"], path),
                architecture="expunge:mlp",
                architecture_kwargs=KWARGS,
                preprocessing=PREPROCESSING,
                recipe={"epochs": EPOCHS, "batch_size": 16, "shift": 0},
            )
            self._models.append(made["id"])

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def run(self, stop: threading.Event) -> None:
        """Send requests until told to stop, then what still has no answer."""
        while not stop.is_set() or self._waiting is not None:
            try:
                self._step(more=not stop.is_set())
            except ExpungeProblem as problem:
                if 0 < problem.status < 500:
                    raise
            stop.wait(PAUSE_S)

    def open_requests(self) -> int:
        """Return how many requests are not closed."""
        states = ("pending", "in_progress")
        return sum(1 for state in states for _ in self._client.list_requests(status=state))

    def _step(self, *, more: bool) -> None:
        """Send one request: the one without an answer, or a fresh one if few are open."""
        if self._waiting is None and more and self.open_requests() < IN_FLIGHT:
            self._waiting = self._order()
            self.asked.add(self._waiting["subject_request_id"])
        if self._waiting is not None:
            try:
                self._client.open_request(**self._waiting)
            except ExpungeProblem as problem:
                if problem.code not in TAKEN:  # which says that it had arrived
                    raise
            self._waiting = None

    def _order(self) -> dict[str, Any]:
        """Return the next order: one sample, sometimes with a full audit."""
        model = self._random.choice(self._models)
        self._next[model] += 1
        sample = self._next[model]
        order: dict[str, Any] = {
            "model_id": model,
            "sample_ids": [f"id-{sample}"],
            "subject_request_id": f"{self._models.index(model)}-{sample}",
        }
        if self._random.random() < FULL_AUDITS:
            return order | {"policy": "first-look", "ladder": ["finetune", "retrain"]}
        return order | {"ladder": ["retrain"], "audit": "none"}


def write_data(root: Path) -> None:
    """Write small images whose brightest column tells their class, and their manifest."""
    root.mkdir(parents=True)
    rows = ["sample_id,label,split,uri,sha256"]
    for number in range(TRAIN + HOLDOUT):
        content = image_of(number % CLASSES, number)
        (root / f"{number}.png").write_bytes(content)
        split = "train" if number < TRAIN else "holdout"
        digest = hashlib.sha256(content).hexdigest()
        rows.append(f"id-{number},{number % CLASSES},{split},{number}.png,{digest}")
    (root / "manifest.csv").write_text("\n".join(rows))
