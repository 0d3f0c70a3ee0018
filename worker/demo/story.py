"""What the demo asks of the service, in order, over HTTP alone."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.client import ExpungeClient
from worker.demo.actors import ARCHITECTURE, PREPROCESSING, RECIPE, Actors
from worker.demo.digits import CLASS_NAMES, NUM_TRAIN, DigitsManifest
from worker.demo.screen import Screen

Json = dict[str, Any]

POLICY = "first-look"
LADDER = ["muda", "distilled_recovery", "retrain"]
NUM_SAMPLES = 20
POLL_S = 0.5
OPEN = frozenset({"pending", "in_progress"})


@dataclass
class Told:
    """What came of the story: ids of audits and requests by their name, and the model's id."""

    model_id: str = ""
    audits: dict[str, str] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Story:
    """The demo's script."""

    client: ExpungeClient
    digits: DigitsManifest
    actors: Actors
    screen: Screen
    forgotten: int
    seed: int

    def tell(self) -> Told:
        """Register, have the controls audited, then ask for three erasures."""
        told = Told(model_id=self.register())
        told.audits = self._audit_controls(told.model_id)
        told.requests = self._ask_for_erasure(told.model_id)
        return told

    def register(self) -> str:
        """Register data set and model by paths relative to the server's data root.

        Raises:
            RuntimeError: The model was refused.
        """
        self.screen.say("Training the customer's network on all 1,297 digits, wrong labels too")
        weights = self.actors.original()
        dataset = self.client.register_dataset(
            "digits", self._on_server(self.digits.manifest), class_names=CLASS_NAMES
        )
        model = self.client.register_model(
            "digits-classifier",
            dataset["id"],
            self._on_server(weights),
            architecture=ARCHITECTURE,
            preprocessing=PREPROCESSING,
            recipe=RECIPE.to_dict(),
        )
        model_id = str(model["id"])
        checked = self.client.wait_for_model(model_id)
        if checked["status"] != "ready":
            raise RuntimeError(f"the model was refused: {checked}")
        self.screen.say(f"Registered data set {dataset['id']} and model {model_id}")
        return model_id

    def _audit_controls(self, model_id: str) -> dict[str, str]:
        """POST four networks that hide and three genuine retrains to /v1/audits."""
        ids = self.digits.ids_labelled(self.forgotten)
        self.screen.say(
            f"Before any request: audits of seven candidates for digit {self.forgotten}"
        )
        opened = {}
        for make in (self.actors.hiding, self.actors.retrained):
            for name, weights in make().items():
                path = self._on_server(weights)
                audit = self.client.open_audit(model_id, path, ids, label=name, policy=POLICY)
                opened[name] = str(audit["id"])
        self._watch(opened, self.client.get_audit)
        return opened

    def _ask_for_erasure(self, model_id: str) -> dict[str, str]:
        """POST the class request, and the other two while its run is under way."""
        whole_class = self.digits.ids_labelled(self.forgotten)
        opened = {"class": self.open(model_id, "class", whole_class)}
        while self.client.get_request(opened["class"])["status"] == "pending":
            time.sleep(POLL_S)
        for name, ids in self._others(set(whole_class)).items():
            opened[name] = self.open(model_id, name, ids)
        self._watch(opened, self.client.get_request)
        return opened

    def open(self, model_id: str, name: str, ids: list[str]) -> str:
        """POST a deletion request and return its id."""
        self.screen.say(f"POST /v1/deletion-requests: {name}, {len(ids)} samples")
        request = self.client.open_request(
            model_id,
            ids,
            subject_request_id=f"demo-{name}",
            policy=POLICY,
            ladder=LADDER,
        )
        return str(request["id"])

    def _on_server(self, path: Path) -> Path:
        """Return a path as the server reads it, whose data root is the digits' folder."""
        return path.relative_to(self.digits.root)

    def _others(self, erased: set[str]) -> dict[str, list[str]]:
        """Choose twenty mislabelled and twenty random ids, none of them erased before."""
        draws = random.Random(self.seed)  # noqa: S311 - a sample, not a secret
        ids = self.digits.sample_ids
        wrong = {ids[position] for position in self.digits.mislabelled}
        mislabelled = draws.sample(sorted(wrong - erased), NUM_SAMPLES)
        plain = set(ids[:NUM_TRAIN]) - wrong - erased
        return {"mislabelled": mislabelled, "random": draws.sample(sorted(plain), NUM_SAMPLES)}

    def _watch(self, opened: dict[str, str], get: Callable[[str], Json]) -> None:
        """Show progress until all are closed.

        Raises:
            RuntimeError: One of them ended without a report.
        """
        with self.screen.progress(list(opened)) as show:
            waiting = dict(opened)
            while waiting:
                for name, key in list(waiting.items()):
                    state = get(key)
                    show(name, state)
                    if state["status"] not in OPEN:
                        del waiting[name]
                        if state["status"] != "completed":
                            raise RuntimeError(f"{name} ended {state['status']}: {state}")
                time.sleep(POLL_S)
