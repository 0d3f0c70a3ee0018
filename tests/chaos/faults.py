"""What is done to an installation: kills and pauses, at seeded random moments of running jobs."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.installation import LEASE_S, Installation, Process
from tests.servers import Server

KILLS = ("kill worker", "kill child", "kill api", "kill sweeper", "kill redis", "kill postgres")
PAUSES = ("pause worker", "pause child")
KINDS = (*KILLS, *PAUSES)
GAP_S = (0.1, 1.5)  # between faults
DOWN_S = (0.1, 1.5)  # until what was killed is started again
AIM_S = (0.0, 0.4)  # from a job seen running to the strike, which may come as the job ends
PAUSE_S = (1.2 * LEASE_S, 2.0 * LEASE_S)
POLL_S = 0.02


@dataclass
class Injector:
    """Strike, and put right again what was struck a moment later; outages may overlap.

    Attributes:
        kinds: Drawn from by the seed, all equally often.
        counted: Faults by kind that hit while a job ran.
        missed: Those that came between jobs; they happened, and are not counted.
    """

    installation: Installation
    seed: int
    kinds: tuple[str, ...] = KINDS
    counted: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - a reproducible choice, no secret
        self._repairs: list[tuple[float, str, Callable[[], None]]] = []

    def run(self, faults: int, limit_s: float) -> None:
        """Strike until so many faults have hit a running job, or the time is over; then repair."""
        deadline = time.monotonic() + limit_s
        while self.counted.total() < faults and time.monotonic() < deadline:
            kind = self._random.choice(self.kinds)
            self._wait(self._random.uniform(*GAP_S))
            while not self._strike(kind) and time.monotonic() < deadline:
                self._wait(POLL_S)
        while self._repairs:
            self._wait(POLL_S)

    def _wait(self, seconds: float) -> None:
        """Let time pass, and do the repairs that come due in it."""
        end = time.monotonic() + seconds
        while True:
            for repair in [entry for entry in self._repairs if entry[0] <= time.monotonic()]:
                repair[2]()
                self._repairs.remove(repair)
            if time.monotonic() >= end:
                return
            time.sleep(POLL_S)

    def _strike(self, kind: str) -> bool:
        """Do one fault; False while there is nothing to hit."""
        what, _, name = kind.partition(" ")
        if name in ("worker", "child"):
            return self._strike_worker(kind, pause=what == "pause", child=name == "child")
        if self._is_down(name) or not self._busy(self.installation.workers):
            return False
        self._wait(self._random.uniform(*AIM_S))
        target = (self.installation.processes | self.installation.servers)[name]
        self._count(kind, self.installation.workers)
        self._kill(name, target)
        return True

    def _strike_worker(self, kind: str, *, pause: bool, child: bool) -> bool:
        up = [worker for worker in self.installation.workers if not self._is_down(worker.name)]
        busy = self._busy(up)
        if not busy:
            return False
        worker = self._random.choice(busy)
        self._wait(self._random.uniform(*AIM_S))
        jobs = worker.jobs()
        if child and not jobs:
            return False
        self._count(kind, [worker])
        if not child and not pause:
            self._kill(worker.name, worker)
            return True
        pid = jobs[0] if child else worker.running.pid
        number = signal.SIGSTOP if pause else signal.SIGKILL
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if pause:
            self._later(worker.name, PAUSE_S, lambda: _resume(pid))
        return True

    def _kill(self, name: str, target: Process | Server) -> None:
        if isinstance(target, Server):
            target.stop(signal.SIGKILL)
        else:
            target.kill()
        self._later(name, DOWN_S, target.start)

    def _later(self, name: str, after_s: tuple[float, float], repair: Callable[[], None]) -> None:
        self._repairs.append((time.monotonic() + self._random.uniform(*after_s), name, repair))

    def _is_down(self, name: str) -> bool:
        return any(name == entry[1] for entry in self._repairs)

    def _busy(self, workers: list[Process]) -> list[Process]:
        return [worker for worker in workers if worker.jobs()]

    def _count(self, kind: str, workers: list[Process]) -> None:
        (self.counted if self._busy(workers) else self.missed)[kind] += 1


def _resume(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
