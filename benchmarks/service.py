"""Measure the HTTP service beside bare FastAPI routes on PostgreSQL and Redis.

    python -m benchmarks.service                 # writes benchmarks/results/service.json
    python -m benchmarks.service --rounds 1 --samples 100000 --output /tmp/service.json

Registration: seconds and peak memory of `POST /v1/datasets` with a Parquet manifest that lies on
the server. Load: the highest rate at which p99 stays under 100 ms, of the service and of a bare
route (`benchmarks.service_bare`) that makes the same look-ups and inserts on the same tables and
computes the same commitment. Both searches take turns, rate by rate, so that other work on the
machine hits both alike. Beside it, for machines with other work: calls a second of clients that
never rest, and CPU seconds of a call in servers and database; and p50 and p99 of both at half the
bare route's rate. Exit code 1 when a goal is missed.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
import urllib.request
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.service_load import Latencies, Search, load, message, saturate
from benchmarks.service_manifest import CLASSES, sample_ids, write_manifest
from benchmarks.service_stack import PROCESSES, Stack, clear, cpu_seconds, serving, stack
from service import ledger
from service.tables import JobKind

RESULTS = Path(__file__).parent / "results" / "service.json"
GOAL_FACTOR = 1.5
GOAL_SAMPLES_PER_S = 50_000
FEWEST_CALLS, LONGEST_S, CLIENTS = 20, 15.0, 8
OURS, BARE = "service.cli.operating:served_app", "benchmarks.service_bare:APP"


class Case(NamedTuple):
    """One kind of call, and how often it is made at each rate at most."""

    name: str
    method: str
    path: str
    ids: int
    calls: int
    goal: bool

    @property
    def expected(self) -> int:
        """The status of the answer."""
        return 202 if self.method == "POST" else 200


CASES = (
    Case("post_10_ids", "POST", "/v1/deletion-requests", 10, 400, goal=True),
    Case("post_10000_ids", "POST", "/v1/deletion-requests", 10_000, 98, goal=True),
    Case("get_status", "GET", "/v1/deletion-requests/{open}", 0, 600, goal=False),
    Case("get_report", "GET", "/v1/deletion-requests/{closed}/report", 0, 600, goal=False),
)


def register(on: Stack, num_samples: int) -> tuple[uuid.UUID, dict[str, Any]]:
    """Register a data set of this size over HTTP in a process of its own."""
    manifest = write_manifest(on.settings.data_roots[0], num_samples)
    with serving(on, OURS, processes=1) as (port, pid):
        cpu = cpu_seconds(pid, on.postgres)
        call(port, on.token, "GET", "/v1/datasets")
        before = memory(pid)
        started = time.perf_counter()
        body = {"name": f"big-{num_samples}", "manifest_uri": manifest.name}
        answer = call(port, on.token, "POST", "/v1/datasets", body)
        seconds = time.perf_counter() - started
        peak, cpu = memory(pid), cpu_seconds(pid, on.postgres) - cpu
    return uuid.UUID(answer["id"]), {
        "samples": num_samples,
        "seconds": round(seconds, 2),
        "samples_per_second": round(num_samples / seconds),
        "samples_per_cpu_second": round(num_samples / cpu),
        "memory_before_mib": before,
        "peak_memory_mib": peak,
        "bytes_per_sample": round((peak - before) * 2**20 / num_samples),
    }


def memory(pid: int) -> int:
    """Return a process's peak resident memory in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


def call(
    port: int, token: str, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Make one call and return its JSON."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
        return found


def use(on: Stack, dataset_id: uuid.UUID) -> uuid.UUID:
    """Register a model of the big data set and return the request whose run is under way."""
    on.world.dataset_id = dataset_id
    with on.database.write() as session:
        draft = on.world.model_draft(name="big")
        on.world.model_id = ledger.register_model(session, on.world.caller, draft).id
    on.world.finish(on.world.hold(JobKind.CHECK))
    kept = on.world.request("sample-00000000")
    with on.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    return kept


class Server(NamedTuple):
    """A server under test."""

    port: int
    pid: int


class Bench:
    """Cases against both servers in turn."""

    def __init__(self, on: Stack, kept: uuid.UUID, num_samples: int, **servers: Server) -> None:
        self._stack, self._kept, self.servers = on, kept, servers
        self._num_samples = num_samples
        self._seed = 0

    def measure(self, case: Case, server: str, rate: float) -> Latencies:
        """Make the calls of a case at one rate, for a quarter of a minute at most."""
        count = max(FEWEST_CALLS, min(case.calls, int(LONGEST_S * rate)))
        messages = self._messages(case, count)
        return load(self.servers[server].port, messages, case.expected, rate, self._seed)

    def saturated(self, case: Case, server: str) -> dict[str, float]:
        """Return calls a second of busy clients, and CPU seconds of a call, the database's too."""
        messages = self._messages(case, max(FEWEST_CALLS, case.calls // 4))
        pids = (self.servers[server].pid, self._stack.postgres)
        before = cpu_seconds(*pids)
        rate = saturate(self.servers[server].port, messages, case.expected, CLIENTS)
        used = cpu_seconds(*pids) - before
        return {"rate": round(rate, 2), "cpu_ms": round(1000 * used / len(messages), 2)}

    def _messages(self, case: Case, count: int) -> list[bytes]:
        self._seed += 1
        on = self._stack
        path = case.path.format(open=self._kept, closed=on.closed_request)
        if not case.ids:
            return [message(case.method, path, on.token)] * count
        clear(on, on.world.model_id, self._kept)
        names = sample_ids(self._num_samples)[1:]
        chosen = random.Random(self._seed).sample(names, case.ids * count)  # noqa: S311
        parts = (chosen[i * case.ids :][: case.ids] for i in range(count))
        return [message(case.method, path, on.token, self._body(part)) for part in parts]

    def _body(self, names: list[str]) -> bytes:
        body = {"model_id": str(self._stack.world.model_id), "sample_ids": names}
        return json.dumps(body).encode()

    def round(self, case: Case) -> dict[str, Any]:
        """Saturate both, search both rates, compare the latencies at half the bare one's."""
        busy = {name: self.saturated(case, name) for name in self.servers}
        found = {
            name: Search(partial(self.measure, case, name), busy[name]["rate"] / 2)
            for name in self.servers
        }
        while not all(search.over for search in found.values()):
            for search in found.values():
                if not search.over:
                    search.step()
        half = max(found["bare"].rate, busy["bare"]["rate"] / 2) / 2
        latencies = {name: self.measure(case, name, half) for name in self.servers}
        rates = {name: round(search.rate, 2) for name, search in found.items()}
        return {
            "rates": rates,
            "factor": round(rates["bare"] / rates["ours"], 3) if all(rates.values()) else None,
            "tried": {name: search.tried for name, search in found.items()},
            "saturated": busy,
            "saturated_factor": round(busy["bare"]["rate"] / busy["ours"]["rate"], 3),
            "cpu_factor": round(busy["ours"]["cpu_ms"] / busy["bare"]["cpu_ms"], 3),
            "at_rate": round(half, 2),
            "latencies": {name: shown(entry) for name, entry in latencies.items()},
            "load_average": [round(value, 2) for value in os.getloadavg()],
        }


def shown(found: Latencies) -> dict[str, Any]:
    """Return what is told of the latencies of one round."""
    return {
        "p50_ms": round(1000 * found.percentile(0.5), 1),
        "p99_ms": round(1000 * found.percentile(0.99), 1),
        "calls": len(found.seconds),
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything and say whether the goals were reached."""
    with stack() as on:
        dataset_id, registration = register(on, arguments.samples)
        print(f"registration: {registration}", flush=True)
        kept = use(on, dataset_id)
        with serving(on, OURS) as ours, serving(on, BARE) as bare:
            bench = Bench(on, kept, arguments.samples, bare=Server(*bare), ours=Server(*ours))
            cases = {}
            for case in CASES:
                if not arguments.only or case.name in arguments.only:
                    for name in bench.servers:
                        bench.saturated(case, name)  # warms up
                    rounds = [bench.round(case) for _ in range(arguments.rounds)]
                    cases[case.name] = summary(case, rounds)
                    show(case.name, cases[case.name])
    return report(arguments, registration, cases)


def summary(case: Case, rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the rounds of a case with the medians of the three factors."""
    found: dict[str, Any] = {"ids": case.ids, "calls_at_most": case.calls}
    for name in ("factor", "saturated_factor", "cpu_factor"):
        values = [entry[name] for entry in rounds if entry[name] is not None]
        whole = len(values) == len(rounds)
        found[name] = statistics.median(values) if whole else None
        found[f"{name}s"] = values
    median = found["factor"]
    found["goal"] = GOAL_FACTOR if case.goal else None
    found["reached"] = (median is not None and median <= GOAL_FACTOR) if case.goal else None
    return found | {"rounds": list(rounds)}


def report(
    arguments: argparse.Namespace, registration: dict[str, Any], cases: dict[str, Any]
) -> dict[str, Any]:
    """Return what is written down."""
    fast = registration["samples_per_second"] >= GOAL_SAMPLES_PER_S
    packages = ("fastapi", "uvicorn", "sqlalchemy", "psycopg", "pydantic", "pyroaring")
    return {
        "benchmark": "service",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "uvicorn_workers": PROCESSES,
        "rounds": arguments.rounds,
        "classes": CLASSES,
        "goals": {"factor": GOAL_FACTOR, "samples_per_second": GOAL_SAMPLES_PER_S},
        "reached": fast and all(case["reached"] is not False for case in cases.values()),
        "registration": registration | {"reached": fast},
        "cases": cases,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
    }


def show(name: str, case: dict[str, Any]) -> None:
    """Print one case."""
    for entry in case["rounds"]:
        print(f"{name}: {entry['rates']}, saturated {entry['saturated']}")
        print(f"  at {entry['at_rate']}/s {entry['latencies']}, load {entry['load_average']}")
    for factor in ("factor", "saturated_factor", "cpu_factor"):
        print(f"{name}: {factor} {case[factor]} of {case[f'{factor}s']}", flush=True)


def main() -> None:
    """Measure, print, write; exit with 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found = run(arguments)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=2) + "\n")
    print("goals reached" if found["reached"] else "goals missed")
    sys.exit(not found["reached"])


if __name__ == "__main__":
    main()
