"""A whole installation of real processes on real servers, each of which can be killed or paused."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.config import Settings
from service.database import Database
from service.keys import create_key, ensure_tenant
from tests.servers import POSTGRES, VALKEY, Server, serve

LEASE_S = 3.0
WORKERS = ("worker1", "worker2")
_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Process:
    """One process of Expunge's own, started again with the same command after it was killed."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    log: Path
    running: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it; its output goes to the end of its log."""
        with self.log.open("ab") as out:
            self.running = subprocess.Popen(
                self.command,
                cwd=self.log.parent,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this very process."""
        self.running.send_signal(number)

    def kill(self) -> None:
        """Kill it, stopped or not, and wait for its end."""
        self.running.kill()
        self.running.wait()

    def fork_server(self) -> int | None:
        """Return the process id of a worker's fork server."""
        return next(iter(children_of(self.running.pid)), None)

    def jobs(self) -> list[int]:
        """Return the process ids of the jobs that a worker runs: the fork server's children."""
        server = self.fork_server()
        return [] if server is None else children_of(server)


@dataclass
class Installation:
    """Servers, processes, and the way to each of them."""

    settings: Settings
    servers: dict[str, Server]
    processes: dict[str, Process]
    url: str
    key: str

    def start(self) -> None:
        """Start all processes and wait for the API."""
        for process in self.processes.values():
            process.start()
        self.wait_for_api()

    def wait_for_api(self, limit_s: float = 60) -> None:
        """Return once the API answers."""
        deadline = time.monotonic() + limit_s
        while True:
            with suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{self.url}/healthz", timeout=2).close()  # noqa: S310 - ours
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"The API does not answer: {self.processes['api'].log}")
            time.sleep(0.1)

    @property
    def workers(self) -> list[Process]:
        """Return the workers."""
        return [self.processes[name] for name in WORKERS]


@contextmanager
def installed(home: Path, *, worker_app: str = "") -> Iterator[Installation]:
    """Yield an installation in `home` whose processes do not run yet; all are gone afterwards.

    `worker_app` names another Celery application for the workers, as ``module:app``.
    """
    home.mkdir(parents=True)
    with ExitStack() as stack:
        servers = {
            "postgres": stack.enter_context(serve(*POSTGRES, "-c max_connections=60")),
            "redis": stack.enter_context(serve(*VALKEY)),
        }
        settings = settings_for(home, servers)
        database = Database.from_settings(settings)
        database.migrate()
        with database.write() as session:
            _, key = create_key(session, ensure_tenant(session).id, "chaos")
        database.close()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        environment, cli = environment_for(settings), [sys.executable, "-m", "service.cli"]
        commands = {
            "api": [*cli, "serve", "--port", str(port)],
            "sweeper": [*cli, "sweep"],
            **{name: worker_command(name, worker_app) for name in WORKERS},
        }
        processes = {
            name: Process(name, command, environment, home / f"{name}.log")
            for name, command in commands.items()
        }
        made = Installation(settings, servers, processes, f"http://127.0.0.1:{port}", key)
        stack.callback(_end, made)
        yield made


def settings_for(home: Path, servers: dict[str, Server]) -> Settings:
    """Return short leases and intervals, and a retry budget that no suite uses up."""
    return Settings(
        home=home,
        data_roots=[home / "data"],
        database_url=servers["postgres"].url,
        broker_url=servers["redis"].url,
        lease_s=LEASE_S,
        sweep_interval_s=0.5,
        back_off_s=0.2,
        max_failures=10_000,
        visibility_s=5,
        orphan_age_s=30,
        reference_grace_s=20,
        threads=1,
        device="cpu",
    )


def environment_for(settings: Settings) -> dict[str, str]:
    """Return the environment of the processes: these settings, and no other one of Expunge's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EXPUNGE_")}
    values = settings.model_dump(mode="json", exclude_defaults=True)
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
    ours = {f"EXPUNGE_{name.upper()}": text for name, text in texts.items()}
    path = os.pathsep.join(part for part in (str(_REPOSITORY), kept.get("PYTHONPATH", "")) if part)
    return kept | ours | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def worker_command(name: str, app: str) -> list[str]:
    """Return the command of a worker; with another Celery application it is told at length."""
    if not app:
        return [sys.executable, "-m", "service.cli", "worker", "--name", name]
    return [
        *(sys.executable, "-m", "celery", "--app", app, "worker", "--pool", "threads"),
        *("--concurrency", "1", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
        *("--hostname", f"{name}@%h", "--queues", "expunge.jobs"),
    ]


def children_of(pid: int) -> list[int]:
    """Return the living children of a process, whichever of its threads forked them."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the process, or this thread, has ended meanwhile
            found += [int(word) for word in path.read_text().split()]
    return [child for child in found if not _is_zombie(child)]


def _is_zombie(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def left_over(home: Path) -> list[int]:
    """Return processes that still work in an installation's folder: children without a worker."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "cwd").readlink().is_relative_to(home) and int(path.name) != os.getpid():
                found.append(int(path.name))
    return found


def _end(installation: Installation) -> None:
    for process in installation.processes.values():
        if hasattr(process, "running"):
            process.kill()
    for server in installation.servers.values():
        if server.process.poll() is not None:  # `serve` ends what runs
            server.start()
