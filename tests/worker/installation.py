"""A tiny installation without processes: data set, model and ledger."""

import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import torch
from PIL import Image
from sqlalchemy import create_engine, select, text

from service import ledger
from service.config import Settings
from service.database import Database
from service.keys import ensure_tenant
from service.ledger import Caller, DatasetDraft, ModelDraft, RequestOrder, SampleRow
from service.storage import Storage
from service.tables import Job, JobKind
from unlearning.data import TensorImages
from unlearning.networks import build_network
from unlearning.recipe import Recipe
from unlearning.training import train_from_recipe
from unlearning.weights import save_weights

ARCHITECTURE = "expunge:mlp"
KWARGS = {"in_features": 16, "hidden": [8]}
PREPROCESSING = {"mean": [0.5], "std": [0.25], "size": [4, 4], "channels": 1}
CLASSES = 3
TRAIN, HOLDOUT = 48, 24
EPOCHS = 25


def image_of(label: int, seed: int) -> bytes:
    """Return a PNG of 4×4 pixels whose brightest column tells its class."""
    pixels = np.random.default_rng(seed).integers(0, 100, (4, 4), dtype=np.uint8)
    pixels[:, label] += 150
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_images(folder: Path) -> list[SampleRow]:
    """Write the data set's files and return its rows."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(TRAIN + HOLDOUT):
        content = image_of(number % CLASSES, number)
        (folder / f"{number}.png").write_bytes(content)
        split = "train" if number < TRAIN else "holdout"
        digest = hashlib.sha256(content).hexdigest()
        rows.append(SampleRow(f"id-{number}", number % CLASSES, split, f"{number}.png", digest))  # type: ignore[arg-type]
    return rows


def write_weights(path: Path, architecture: str = ARCHITECTURE, **kwargs: object) -> Path:
    """Write an untrained network's weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_network(architecture, CLASSES, **(kwargs or KWARGS))
    save_weights(model, path, {"made_by": "test"})
    return path


def train_weights(path: Path) -> Path:
    """Write the weights of a network that was trained by the recipe on the whole data set."""
    pictures = [np.asarray(Image.open(io.BytesIO(image_of(n % CLASSES, n)))) for n in range(TRAIN)]
    images = TensorImages(
        torch.from_numpy(np.stack(pictures)).unsqueeze(1),
        torch.arange(TRAIN) % CLASSES,
        CLASSES,
        (0.5,),
        (0.25,),
    )
    recipe = Recipe(epochs=EPOCHS, batch_size=16, shift=0)
    model = train_from_recipe(
        lambda: build_network(ARCHITECTURE, CLASSES, **KWARGS), images, recipe, seed=7
    )
    save_weights(model, path, {"made_by": "test"})
    return path


@dataclass
class Installation:
    """What the tests of jobs work with."""

    settings: Settings
    database: Database
    storage: Storage
    caller: Caller
    dataset_id: UUID

    def model(self, weights: Path, epochs: int = 1, **changes: object) -> UUID:
        """Register a model and return its id."""
        key = self.storage.put_file(weights, "application/vnd.safetensors")
        values: dict[str, object] = {
            "name": f"model-{key[-8:]}-{epochs}",
            "dataset_id": self.dataset_id,
            "architecture": ARCHITECTURE,
            "architecture_kwargs": KWARGS,
            "preprocessing": PREPROCESSING,
            "recipe": {"epochs": epochs, "batch_size": 16, "shift": 0},
            "weights_uri": key,
            "weights_sha256": key.rpartition("/")[2],
        }
        with self.database.write() as session:
            return ledger.register_model(
                session,
                self.caller,
                ModelDraft(**(values | changes)),  # type: ignore[arg-type]
            ).id

    def retrain_request(self, model_id: UUID) -> UUID:
        """Ask for two samples to be forgotten by retraining, without an audit."""
        order = RequestOrder(
            model_id=model_id, sample_ids=["id-0", "id-4"], ladder=("retrain",), audit="none"
        )
        with self.database.write() as session:
            return ledger.open_request(session, self.caller, order).id

    def job_id(self, kind: JobKind) -> UUID:
        """Return the newest job of a kind."""
        query = select(Job.id).where(Job.kind == kind).order_by(Job.id.desc()).limit(1)
        with self.database.read() as session:
            return session.scalars(query).one()

    def job(self, job_id: UUID) -> Job:
        """Return a job as it is now."""
        with self.database.read() as session:
            return session.get_one(Job, job_id)

    def stored(self) -> set[str]:
        """Return what lies in the storage."""
        root = self.settings.home / "storage" / "sha256"
        return {path.name for path in root.rglob("*") if path.is_file()}


def settings_for(home: Path, **changes: object) -> Settings:
    """Return settings that depend on nothing outside `home`."""
    values = {"home": home, "data_roots": [home / "data"], "threads": 1, "device": "cpu"}
    return Settings(**(values | changes))  # type: ignore[arg-type]


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with what was set of the settings, and nothing else."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("EXPUNGE_")}
    values = settings.model_dump(mode="json", exclude_unset=True)
    return inherited | {
        f"EXPUNGE_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def install(settings: Settings) -> Installation:
    """Make the schema, a tenant and the data set."""
    database = Database.from_settings(settings)
    database.migrate()
    rows = write_images(settings.data_roots[0] / "tiny")
    draft = DatasetDraft(
        name="tiny",
        manifest_uri="tiny",
        format="image_folder",
        root=str(settings.data_roots[0] / "tiny"),
        class_names=[str(label) for label in range(CLASSES)],
        rows=rows,
    )
    with database.write() as session:
        caller = Caller(ensure_tenant(session).id, "test")
        dataset = ledger.register_dataset(session, caller, draft)
    return Installation(settings, database, Storage(settings.storage_url), caller, dataset.id)


def empty_database(server: str, name: str) -> str:
    """Make an empty PostgreSQL database, in place of one of that name, and return its URL."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server.rpartition('/')[0]}/{name}"


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; the test's own timeout is the limit."""
    while not condition():
        time.sleep(0.01)
