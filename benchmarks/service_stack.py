"""What `benchmarks.service` measures: real PostgreSQL, Redis and uvicorn, and a world in them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import delete, update

from service import tables
from service.bitmaps import pack
from service.config import Settings
from service.database import Database
from service.keys import create_key
from service.ledger import ReportContext, SignedReport
from service.reports import publish
from service.signing import load_signer
from tests.chaos.installation import children_of, environment_for
from tests.servers import POSTGRES, VALKEY, serve
from tests.service.ledger.world import World

PROCESSES = 2
"""Uvicorn workers of each server; the machine's cores."""
UNREACHED = 10**9
"""A rate limit that is counted, but that no load here reaches."""
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Stack:
    """Running servers, a key for them, and the requests whose status and report are read."""

    settings: Settings
    database: Database
    world: World
    token: str
    closed_request: uuid.UUID
    home: Path
    postgres: int


@contextmanager
def stack() -> Iterator[Stack]:
    """Yield PostgreSQL and Redis with a small model that has one closed request."""
    with ExitStack() as opened:
        postgres = opened.enter_context(serve(*POSTGRES, "-c shared_buffers=512MB"))
        redis = opened.enter_context(serve(*VALKEY))
        home = postgres.home / "bench"
        home.mkdir()
        settings = Settings(
            mode="production",
            home=home,
            database_url=postgres.url,
            broker_url=redis.url,
            data_roots=[home / "data"],
            max_body_bytes=2**30,
            rate_key_reads=UNREACHED,
            rate_key_writes=UNREACHED,
            rate_tenant_reads=UNREACHED,
            rate_tenant_writes=UNREACHED,
        )
        (home / "data").mkdir()
        signer = load_signer(settings.signing_key_file, create=True)
        settings.pepper_file.write_bytes(os.urandom(32))
        settings.pepper_file.chmod(0o600)
        database = opened.enter_context(closing(Database.from_settings(settings)))
        database.migrate()

        def sign(context: ReportContext) -> SignedReport:
            return publish(replace(context, audit=audit_result()), signer)

        world = World(database, sign=sign)
        world.register()
        closed = world.request("s0")
        world.work()
        with database.write() as session:
            token = create_key(session, world.caller.tenant_id, "bench")[1]
        yield Stack(settings, database, world, token, closed, home, postgres.process.pid)


def audit_result() -> dict[str, Any]:
    """Return the audit's result of the tests' realistic report."""
    from tests.service import conftest

    wrapped: Any = conftest.audit_result
    made: dict[str, Any] = wrapped.__wrapped__()
    return made


@contextmanager
def serving(
    stack_: Stack, application: str, processes: int = PROCESSES
) -> Iterator[tuple[int, int]]:
    """Run an application under uvicorn; yield its port and its process id."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "uvicorn", application, "--port", str(port)),
        *("--workers", str(processes), "--log-level", "warning"),
        *("--timeout-keep-alive", "120"),
        *(("--factory",) if application.endswith("_app") else ()),
    ]
    with (stack_.home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=_ROOT, env=environment_for(stack_.settings), stdout=log, stderr=log
        )
    try:
        _await(port, process)
        yield port, process.pid
    except BaseException:
        print((stack_.home / "server.log").read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def cpu_seconds(*roots: int) -> float:
    """Return the CPU seconds of processes and all their descendants, ended ones included."""
    tree, ticks = list(roots), 0
    for pid in tree:
        with suppress(OSError):
            tree += children_of(pid)
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once a worker answers, whatever it says."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server does not answer")


def clear(stack_: Stack, model_id: uuid.UUID, kept: uuid.UUID) -> None:
    """Take back every request of a model but one, and empty E, so that ids can be named again."""
    with stack_.database.write() as session:
        requests = tables.DeletionRequest
        mine = (requests.model_id == model_id, requests.id != kept)
        keys = [key for (key,) in session.query(requests.id).where(*mine)]
        for table in (tables.RequestCopies, tables.RequestSamples):
            session.execute(delete(table).where(table.request_id.in_(keys)))
        session.execute(delete(requests).where(*mine))
        dataset_id = session.get_one(tables.Model, model_id).dataset_id
        session.execute(
            update(tables.Tombstones)
            .where(tables.Tombstones.dataset_id == dataset_id)
            .values(ordinals=pack(()), count=0)
        )
