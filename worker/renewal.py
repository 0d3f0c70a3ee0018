"""Renew a job's lease from a thread of its own while the job runs."""

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from sqlalchemy.exc import DBAPIError

Answer = Literal["ok", "cancel", "lost"]
Renew = Callable[[dict[str, Any] | None], str]

MIN_INTERVAL_S = 1.0


class Renewal:
    """Keep one claim alive and carry its progress, at most once a second.

    Use as a context manager. `answer` is the ledger's last word: ``ok``, ``cancel`` (somebody
    cancelled the job) or ``lost`` (another worker may have it). A database that cannot be reached
    is tried again until the lease must have run out.

    Args:
        renew: Renews with a progress or None and returns the ledger's word.
        lease_s: How long a renewed lease lasts.
    """

    def __init__(self, renew: Renew, lease_s: float) -> None:
        self._renew = renew
        self._lease_s = lease_s
        self._condition = threading.Condition()
        self._progress: dict[str, Any] | None = None
        self._closed = False
        self._answer: Answer = "ok"
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="lease-renewal", daemon=True)

    @property
    def answer(self) -> Answer:
        """The ledger's last word, or ``lost`` where none has come for as long as a lease lasts.

        So a worker that was paused knows of its loss before it has asked.
        """
        silent = time.monotonic() - self._renewed > self._lease_s
        return "lost" if silent and self._answer == "ok" else self._answer

    def report(self, progress: dict[str, Any]) -> None:
        """Hand over the newest progress; it is written with the next renewal, within a second."""
        with self._condition:
            self._progress = progress
            self._condition.notify()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the thread; a renewal on its way is waited for."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        tried = self._renewed
        while self._answer == "ok":
            progress = self._next(tried)
            if self._closed:
                return
            tried = time.monotonic()
            with contextlib.suppress(DBAPIError):
                self._answer = _known(self._renew(progress))
                self._renewed = tried
            self._answer = self.answer

    def _next(self, tried: float) -> dict[str, Any] | None:
        """Wait until a third of the lease has passed, or for a progress that is due."""
        with self._condition:
            while not self._closed:
                waits = MIN_INTERVAL_S if self._progress is not None else self._lease_s / 3
                left = tried + min(waits, self._lease_s / 3) - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
            progress, self._progress = self._progress, None
        return progress


def _known(word: str) -> Answer:
    """Return the ledger's word; one that is unknown counts as a lost lease."""
    return "ok" if word == "ok" else "cancel" if word == "cancel" else "lost"
