"""Measure the HTTP service beside bare FastAPI routes on PostgreSQL and Redis.

    python -m benchmarks.service                 # writes benchmarks/results/service.json
    python -m benchmarks.service --rounds 1 --samples 100000 --output /tmp/service.json

Registration: seconds and peak memory of `POST /v1/datasets` with a Parquet manifest that lies on
the server. Load: the highest rate at which p99 stays under 100 ms, of the service and of a bare
route (`benchmarks.service_bare`) that makes the same look-ups and inserts on the same tables and
computes the same commitment. Both searches take turns, rate by rate, so that other work on the
machine hits both alike. Then p50 and p99 of both at half the bare route's rate. Exit code 1 when a
goal is missed.
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
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.service_load import Latencies, Search, load, message
from benchmarks.service_manifest import CLASSES, sample_ids, write_manifest
from benchmarks.service_stack import PROCESSES, Stack, clear, serving, stack
from service import ledger
from service.tables import JobKind

RESULTS = Path(__file__).parent / "results" / "service.json"
GOAL_FACTOR = 1.5
GOAL_SAMPLES_PER_S = 50_000
OURS, BARE = "service.cli.operating:served_app", "benchmarks.service_bare:APP"


class Case(NamedTuple):
    """One kind of call, how often it is made at each rate, and where the search starts."""

    name: str
    method: str
    path: str
    ids: int
    calls: int
    start: float
    goal: bool


CASES = (
    Case("post_10_ids", "POST", "/v1/deletion-requests", 10, 400, 20, goal=True),
    Case("post_10000_ids", "POST", "/v1/deletion-requests", 10_000, 98, 2, goal=True),
    Case("get_status", "GET", "/v1/deletion-requests/{open}", 0, 600, 40, goal=False),
    Case("get_report", "GET", "/v1/deletion-requests/{closed}/report", 0, 600, 40, goal=False),
)


def register(on: Stack, num_samples: int) -> tuple[uuid.UUID, dict[str, Any]]:
    """Register a data set of this size over HTTP in a process of its own."""
    manifest = write_manifest(on.settings.data_roots[0], num_samples)
    with serving(on, OURS, processes=1) as (port, pid):
        call(port, on.token, "GET", "/v1/datasets")
        before = memory(pid)
        started = time.perf_counter()
        body = {"name": f"big-{num_samples}", "manifest_uri": manifest.name}
        answer = call(port, on.token, "POST", "/v1/datasets", body)
        seconds = time.perf_counter() - started
        peak = memory(pid)
    return uuid.UUID(answer["id"]), {
        "samples": num_samples,
        "seconds": round(seconds, 2),
        "samples_per_second": round(num_samples / seconds),
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
    request = urllib.request.Request(  # noqa: S310 - our own server
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


class Bench:
    """One case against both servers, round after round."""

    def __init__(self, on: Stack, kept: uuid.UUID, num_samples: int, ports: dict[str, int]) -> None:
        self._stack, self._kept, self._ports = on, kept, ports
        self._num_samples = num_samples
        self._seed = 0

    def measure(self, case: Case, server: str, rate: float) -> Latencies:
        """Make the calls of a case at one rate."""
        self._seed += 1
        if case.ids:
            clear(self._stack, self._stack.world.model_id, self._kept)
        messages = self._messages(case, self._seed)
        expected = 202 if case.method == "POST" else 200
        return load(self._ports[server], messages, expected, rate, self._seed)

    def _messages(self, case: Case, seed: int) -> list[bytes]:
        on = self._stack
        keys = {"open": self._kept, "closed": on.closed_request}
        path = case.path.format(**keys)
        if not case.ids:
            return [message(case.method, path, on.token)] * case.calls
        names = sample_ids(self._num_samples)[1:]
        chosen = random.Random(seed).sample(names, case.ids * case.calls)  # noqa: S311
        return [
            message(case.method, path, on.token, self._body(chosen[i * case.ids :][: case.ids]))
            for i in range(case.calls)
        ]

    def _body(self, names: list[str]) -> bytes:
        body = {"model_id": str(self._stack.world.model_id), "sample_ids": names}
        return json.dumps(body).encode()

    def round(self, case: Case) -> dict[str, Any]:
        """Search both rates in turn, then compare the latencies at half the bare one's."""
        for server in self._ports:
            self.measure(case._replace(calls=max(20, case.calls // 10)), server, case.start)
        searches = {
            server: Search(lambda rate, s=server: self.measure(case, s, rate), case.start)  # type: ignore[misc]
            for server in self._ports
        }
        while not all(search.over for search in searches.values()):
            for search in searches.values():
                if not search.over:
                    search.step()
        half = max(searches["bare"].rate, 1.0) / 2
        latencies = {server: self.measure(case, server, half) for server in self._ports}
        rates = {server: round(search.rate, 2) for server, search in searches.items()}
        return {
            "rates": rates,
            "factor": round(rates["bare"] / rates["ours"], 3) if rates["ours"] else None,
            "tried": {server: search.tried for server, search in searches.items()},
            "at_half_the_bare_rate": {
                server: {
                    "rate": round(half, 2),
                    "p50_ms": round(1000 * found.percentile(0.5), 1),
                    "p99_ms": round(1000 * found.percentile(0.99), 1),
                    "calls": len(found.seconds),
                }
                for server, found in latencies.items()
            },
            "load_average": [round(value, 2) for value in os.getloadavg()],
        }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything and say whether the goals were reached."""
    with stack() as on:
        dataset_id, registration = register(on, arguments.samples)
        print(f"registration: {registration}", flush=True)
        kept = use(on, dataset_id)
        with serving(on, OURS) as (ours, _), serving(on, BARE) as (bare, _):
            bench = Bench(on, kept, arguments.samples, {"bare": bare, "ours": ours})
            cases = {}
            for case in CASES:
                if arguments.only and case.name not in arguments.only:
                    continue
                rounds = [bench.round(case) for _ in range(arguments.rounds)]
                cases[case.name] = summary(case, rounds)
                show(case.name, cases[case.name])
    return report(arguments, registration, cases)


def summary(case: Case, rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the rounds of a case with the median factor."""
    factors = [entry["factor"] for entry in rounds if entry["factor"] is not None]
    median = statistics.median(factors) if len(factors) == len(rounds) else None
    return {
        "ids": case.ids,
        "calls_at_each_rate": case.calls,
        "factor_median": median,
        "factors": factors,
        "goal": GOAL_FACTOR if case.goal else None,
        "reached": None if not case.goal else median is not None and median <= GOAL_FACTOR,
        "rounds": list(rounds),
    }


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
        print(f"{name}: {entry['rates']} factor {entry['factor']}, {entry['at_half_the_bare_rate']}")
    print(f"{name}: factor {case['factor_median']} of {case['factors']}", flush=True)


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
