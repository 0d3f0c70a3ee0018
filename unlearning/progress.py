"""How long work tells where it is, and how it is asked to stop."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from unlearning.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """One report: `step` of `total` in `phase` is done."""

    phase: str
    step: int
    total: int
    detail: str = ""


ProgressCallback = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Accept a report and do nothing with it."""


class CancelToken:
    """Ask work in another thread to stop; safe to use from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask the work to stop at its next step."""
        self._event.set()

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled when somebody asked to stop."""
        if self._event.is_set():
            raise Cancelled("the work was cancelled")
