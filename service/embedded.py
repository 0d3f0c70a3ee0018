"""Start the processes of one machine, watch them, start the dead again, end them all together.

Used by `expunge up`. The watcher knows nothing of what its processes do.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
STEADY_S = 60.0
GRACE_S = 15.0
_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1


@dataclass
class Watched:
    """One process that is to run always.

    Attributes:
        command: Argument list.
        environment: Added to the watcher's own.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float = 0.0
    delay_s: float = FIRST_DELAY_S

    def start(self) -> None:
        """Start the process out of reach of the terminal's Ctrl-C, which is for the watcher."""
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | dict(self.environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_watcher,  # noqa: PLW1509 - the watcher has one thread
        )
        self.started_at = time.monotonic()

    def note_end(self) -> float:
        """Note that the process has ended; return after how many seconds it starts again."""
        now = time.monotonic()
        if now - self.started_at > STEADY_S:
            self.delay_s = FIRST_DELAY_S
        self.start_again_at = now + self.delay_s
        waits, self.delay_s = self.delay_s, min(2 * self.delay_s, LONGEST_DELAY_S)
        self.process = None
        return waits


class Watcher:
    """Keep processes running until told to stop.

    Args:
        processes: Started in this order, ended all at once.
        say: Told in words what happens.
    """

    def __init__(self, processes: Sequence[Watched], say: Callable[[str], None]) -> None:
        self.processes = processes
        self._say = say
        self._stopping = False

    def start(self) -> None:
        """Start everything and take over SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for watched in self.processes:
            watched.start()

    def run(self) -> None:
        """Watch until a signal comes, then end everything."""
        try:
            while not self._stopping:
                for watched in self.processes:
                    self._look_after(watched)
                time.sleep(_POLL_S)
        finally:
            self.end()

    def end(self) -> None:
        """Ask all processes to end, and kill what still runs after the grace time."""
        running = [w.process for w in self.processes if w.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + GRACE_S
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def stopping(self) -> bool:
        """Whether a signal has come."""
        return self._stopping

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's form
        self._stopping = True

    def _look_after(self, watched: Watched) -> None:
        if watched.process is None:
            if time.monotonic() >= watched.start_again_at:
                watched.start()
        elif watched.process.poll() is not None:
            code = watched.process.returncode
            waits = watched.note_end()
            self._say(f"{watched.name} ended with {code}; it starts again in {waits:g} s.")


def _die_with_watcher() -> None:
    """Ask the kernel to end this process when the watcher is gone, even by SIGKILL; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
