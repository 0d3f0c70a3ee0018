"""What every kind of job needs: its specification, its images, its network and its artifacts."""

import hashlib
import platform
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unlearning.data import Images
from unlearning.errors import InvalidProblem
from unlearning.networks import build_network, classifier_name
from unlearning.progress import CancelToken, ProgressCallback
from unlearning.recipe import Recipe
from unlearning.weights import load_weights, save_weights
from worker.errors import FatalFailure, UsageFailure
from worker.loading import ImageReader, Preprocessing, Samples, load_images

SAFETENSORS = "application/vnd.safetensors"


class Execution:
    """One job in its own process.

    Args:
        spec: The specification as the supervisor wrote it; paths are absolute.
        progress: Called as often as the library likes.
    """

    def __init__(self, spec: dict[str, Any], progress: ProgressCallback) -> None:
        self.spec = spec
        self.progress = progress
        self.cancel = CancelToken()
        self.workdir = Path(spec["workdir"])
        self.artifacts: dict[str, dict[str, Any]] = {}
        torch.set_num_threads(max(1, int(spec["threads"])))

    @cached_property
    def device(self) -> str:
        """Return ``cpu`` or ``cuda``; ``auto`` means a GPU where there is one."""
        asked = str(self.spec["device"])
        available = torch.cuda.is_available()
        if asked.startswith("cuda") and not available:
            raise FatalFailure(
                "no_gpu",
                "The worker was told to use a GPU and has none. Give it one, or set EXPUNGE_DEVICE"
                " to cpu or auto.",
            )
        return ("cuda" if available else "cpu") if asked == "auto" else asked

    @property
    def num_classes(self) -> int:
        """Return how many classes the network tells apart."""
        return int(self.spec["model"]["num_classes"])

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Return how images become inputs."""
        return Preprocessing.from_dict(self.spec["model"]["preprocessing"])

    @cached_property
    def reader(self) -> ImageReader:
        """Return what reads the job's images."""
        return ImageReader(Path(self.spec["data_root"]), self.preprocessing)

    @cached_property
    def samples(self) -> Samples:
        """Return the job's rows, without those of earlier requests whose images are gone by now.

        Whoever asked for their erasure may delete them; all other images have to be there.
        """
        samples = Samples.read(Path(self.spec["samples"]))
        rows = zip(samples.uris, samples.digests, samples.roles, strict=True)
        kept = [role != "erased" or self.reader.holds(uri, sha256) for uri, sha256, role in rows]
        return samples.only(kept)

    @cached_property
    def erased(self) -> list[int]:
        """Return the positions of the samples of E whose images are there."""
        present = set(self.samples.positions)
        return [position for position in self.spec["erased"] if position in present]

    @cached_property
    def images(self) -> Images:
        """Return all samples of the job, in the order of their rows."""
        return load_images(
            self.samples,
            self.reader,
            self.preprocessing,
            num_classes=self.num_classes,
            device=self.device,
            threads=int(self.spec["threads"]),
        )

    def role(self, *roles: str) -> Images:
        """Return the images in any of these roles."""
        return self.images.subset(self.samples.rows(*roles))

    def rows_at(self, positions: Sequence[int]) -> torch.Tensor:
        """Return the rows (int64) of samples by their positions.

        Raises:
            FatalFailure: The job was not given one of them.
        """
        rows = {position: row for row, position in enumerate(self.samples.positions)}
        try:
            return torch.tensor([rows[position] for position in positions]).long()
        except KeyError as error:
            raise FatalFailure(
                "positions_unknown", "The job names samples it was not given."
            ) from error

    @cached_property
    def recipe(self) -> Recipe | None:
        """Return the training recipe, None where the model was registered without one."""
        values = self.spec.get("recipe")
        return None if values is None else Recipe.from_dict(values)

    @cached_property
    def classifier(self) -> str:
        """Return the name of the last linear layer, as registered or as found."""
        named = self.spec["model"].get("classifier")
        return str(named) if named else classifier_name(self.build())

    def build(self) -> nn.Module:
        """Return a fresh, untrained network of the registered architecture.

        Raises:
            UsageFailure: There is no such architecture, or it does not take these arguments.
        """
        model = self.spec["model"]
        try:
            return build_network(model["architecture"], self.num_classes, **model["kwargs"])
        except InvalidProblem as error:
            raise UsageFailure("architecture_not_built", str(error)) from error

    def load(self, path: str) -> nn.Module:
        """Return the network with the weights at `path`, on the job's device, in eval mode.

        Raises:
            WeightsRejected: They are no safetensors file, do not fit, or are not finite.
        """
        model = self.build()
        load_weights(model, Path(path))
        return model.to(self.device).eval()

    def save(self, name: str, model: nn.Module, metadata: dict[str, str]) -> None:
        """Save a network's weights as the artifact `name`."""
        path = self.workdir / f"{name}.safetensors"
        save_weights(model, path, metadata)
        self.add_artifact(name, path, SAFETENSORS)

    def add_artifact(self, name: str, path: Path, media_type: str) -> None:
        """List a file of the working folder among the result's artifacts."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.artifacts[name] = {
            "path": str(path.relative_to(self.workdir)),
            "sha256": digest,
            "media_type": media_type,
            "size": path.stat().st_size,
        }

    def environment(self) -> dict[str, str]:
        """Return what the result depends on besides its inputs."""
        try:
            expunge = version("expunge")
        except PackageNotFoundError:
            expunge = "not installed"
        device = torch.cuda.get_device_name() if self.device.startswith("cuda") else "cpu"
        return {
            "processor": processor(),
            "threads": str(torch.get_num_threads()),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "platform": f"{platform.system()}-{platform.machine()}",
            "device": device,
            "expunge": expunge,
        }


def processor() -> str:
    """Return the processor's model name: another one may add the same numbers up differently."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"
