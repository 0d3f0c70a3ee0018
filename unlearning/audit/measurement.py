"""The figures of one model on one part of a forget set: a value that can be stored."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.accuracy import Accuracy

METRICS_VERSION = "2"
"""Part of every cache key: raised when a definition of a figure changes."""


@dataclass(kw_only=True)
class Measurement:
    """Figures by name, each with its number of samples, and why the others are missing.

    ``tensors`` holds what is compared across models later: predictions, spectra, points of a
    projection. ``failure`` says in plain words why nothing at all could be measured. ``layout``
    names the network's architecture by the shapes of its weights.
    """

    values: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    failure: str | None = None
    layout: str | None = None

    def note(
        self,
        name: str,
        n: int,
        compute: Callable[[], float],
        interval: Callable[[], tuple[float, float]] | None = None,
    ) -> None:
        """Compute a figure and keep it, or the reason why it has no value here."""
        try:
            self.values[name] = compute()
        except NotComputable as error:
            self.missing[name] = error.reason
            return
        self.counts[name] = n
        if interval is not None:
            try:
                self.intervals[name] = interval()
            except NotComputable:
                return

    def note_share(self, name: str, compute: Callable[[], Accuracy]) -> None:
        """Compute an accuracy and keep it with its Wilson interval."""
        try:
            share = compute()
        except NotComputable as error:
            self.missing[name] = error.reason
            return
        self.values[name] = share.value
        self.counts[name] = share.n
        self.intervals[name] = share.interval()

    def note_tensor(self, name: str, compute: Callable[[], Tensor]) -> None:
        """Compute a tensor and keep it, or the reason why there is none."""
        try:
            self.tensors[name] = compute().contiguous()
        except NotComputable as error:
            self.missing[name] = error.reason

    def save(self, path: Path) -> None:
        """Write one safetensors file, figures in its header; a reader never sees half of it."""
        figures = json.dumps(
            {
                "version": METRICS_VERSION,
                "values": self.values,
                "counts": self.counts,
                "intervals": self.intervals,
                "missing": self.missing,
                "failure": self.failure,
                "layout": self.layout,
            }
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        os.close(handle)
        try:
            save_file(self.tensors, temporary, metadata={"measurement": figures})
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read what ``save`` wrote; None for a file that is missing, damaged or outdated."""
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as stored:
                text = (stored.metadata() or {}).get("measurement", "{}")
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except SafetensorError:
            return None
        figures: dict[str, Any] = json.loads(text)
        if figures.pop("version", None) != METRICS_VERSION:
            return None
        figures["intervals"] = {name: (a, b) for name, (a, b) in figures["intervals"].items()}
        return cls(tensors=tensors, **figures)
