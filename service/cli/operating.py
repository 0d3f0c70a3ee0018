"""What the operator's commands do; imported only when one of them runs."""

import os
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select

from service import broker, ledger
from service.checkpoints import LogHead, SignedHead, sign_head
from service.cli.output import CommandFailed, Output
from service.collecting import Collector
from service.config import Settings, get_settings
from service.database import Database
from service.embedded import Watched, Watcher
from service.erased import Eraser
from service.errors import Conflict
from service.keys import create_key, ensure_tenant
from service.logs import configure_logging
from service.pulse import beat
from service.sealing import PepperError, load_pepper
from service.signing import load_signer
from service.storage import Storage
from service.tables import Tenant
from service.tracing import Tracing
from service.webhooks import Courier

if TYPE_CHECKING:
    from fastapi import FastAPI

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
ADMIN_KEY_FILE = "admin.key"
MAX_WORKERS = 4
DISPATCH_LIMIT = 100
_log = structlog.get_logger("service.sweeper")
PURGE_INTERVAL_S = 60.0
COLLECT_INTERVAL_S = 900.0
END_TIMEOUT_S = 5.0
CHILD_SILENT_S = 60  # after 5 s uvicorn would kill, for ever, what still imports on a busy machine


def migrate() -> None:
    """Bring the database's schema up to date."""
    with closing(Database.from_settings(get_settings())) as database:
        database.migrate()


def serve(host: str | None, port: int | None, processes: int | None = None) -> None:
    """Run the HTTP service until told to stop, in as many processes as settings or caller say."""
    settings = get_settings()
    configure_logging(settings)
    count = processes or settings.api_processes
    with tempfile.TemporaryDirectory(prefix="expunge-metrics-") as folder:
        if count > 1:
            os.environ[METRICS_FOLDER] = folder  # before a process imports the metrics
        _run_server(settings, host, port, count)


def _run_server(settings: Settings, host: str | None, port: int | None, processes: int) -> None:
    import uvicorn

    uvicorn.run(
        "service.cli.operating:served_app",
        factory=True,
        workers=processes,
        host=host or settings.host,
        port=settings.port if port is None else port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=10,
        timeout_worker_healthcheck=CHILD_SILENT_S,
    )


def served_app() -> "FastAPI":
    """Return the application as a process of its own serves it, with its logs set up."""
    from service.main import create_app

    settings = get_settings()
    configure_logging(settings)
    return create_app(settings)


def become_worker(name: str) -> None:
    """Replace this process by a Celery worker: one thread that supervises one child at a time."""
    arguments = [
        *(sys.executable, "-m", "celery", "--app", "worker.app:app", "worker"),
        *("--pool", "threads", "--concurrency", "1"),
        *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
        *("--hostname", f"{name}@%h", "--queues", broker.QUEUE),
    ]
    os.execv(sys.executable, arguments)  # noqa: S606 - a fixed argument list, no shell


def sweep() -> None:
    """Send wake-ups and webhooks and put right what was lost, until told to stop."""
    settings = get_settings()
    configure_logging(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with closing(Database.from_settings(settings)) as database:
        # beside the sweeper, so that slow receivers hold up no job
        courier = threading.Thread(target=Courier(settings, database).run, args=(stop,))
        courier.start()
        try:
            Sweeper(settings).run(stop)
        finally:
            stop.set()
            courier.join()


class Sweeper:
    """The loop that every installation runs once or more: dispatch, sweep, purge."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database.from_settings(settings)
        self._storage = Storage(settings.storage_url)
        self._collector = Collector(self._database, self._storage, settings.orphan_age_s)
        self._tracing = Tracing()
        self._send = broker.wake_up(broker.celery_app(settings), self._tracing)

    def run(self, stop: threading.Event) -> None:
        """Repeat each duty at its own interval; a failure is logged and tried again.

        Collecting lists the whole storage, so it has a thread of its own and holds up no wake-up.
        The pulse beats while none of the other duties is failing.
        """
        duties = {
            self.dispatch: self._settings.dispatch_interval_s,
            self.sweep: self._settings.sweep_interval_s,
            self.purge: PURGE_INTERVAL_S,
            self.checkpoint: min(PURGE_INTERVAL_S, self._settings.checkpoint_interval_s),
        }
        slow = {self.collect: min(COLLECT_INTERVAL_S, self._settings.orphan_age_s / 4)}
        collecting = threading.Thread(target=self._repeat, args=(slow, stop, None), daemon=True)
        with closing(self._database), closing(self._tracing):
            self._tracing.start(self._settings, "expunge-sweep")
            collecting.start()
            self._repeat(duties, stop, self._settings.pulse_file)
            collecting.join(END_TIMEOUT_S)

    def _repeat(
        self, duties: dict[Callable[[], None], float], stop: threading.Event, pulse: Path | None
    ) -> None:
        due, failing = dict.fromkeys(duties, 0.0), set[Callable[[], None]]()
        while not stop.is_set():
            for duty, interval in duties.items():
                if time.monotonic() >= due[duty]:
                    failing = failing - {duty} if self._try(duty) else failing | {duty}
                    due[duty] = time.monotonic() + interval
            if not failing:
                beat(pulse)
            stop.wait(max(0.0, min(due.values()) - time.monotonic()))

    def _try(self, duty: Callable[[], None]) -> bool:
        """Do a duty; say whether it was done."""
        try:
            duty()
        except Exception as error:  # noqa: BLE001 - what is away for a while must not end the loop
            reason = str(error).partition("\n")[0][:300]  # the statement's values stay out of logs
            _log.error("duty failed", duty=duty.__name__, error=type(error).__name__, reason=reason)
            return False
        return True

    def dispatch(self) -> None:
        """Send what the outbox holds."""
        with self._database.write() as session:
            ledger.dispatch(session, self._send, DISPATCH_LIMIT)

    def sweep(self) -> None:
        """Wake what was lost on the way."""
        with self._database.write() as session:
            ledger.sweep(session, self._settings)

    def purge(self) -> None:
        """Give up what nobody needs any more, one tenant after the other."""
        try:
            eraser = Eraser(load_pepper(self._settings))
        except PepperError as error:
            eraser = None
            _log.error("rows of erased samples are kept", reason=str(error))
        with self._database.read() as session:
            tenants = session.scalars(select(Tenant.id)).all()
        for tenant_id in tenants:
            with self._database.write() as session:
                ledger.purge(session, self._settings, tenant_id, eraser)
        with self._database.read() as session:
            ledger.purge_caches(session, self._settings.cache_root)

    def checkpoint(self) -> None:
        """Sign the heads of the audit logs that are due; a damaged log is reported, not signed."""
        with self._database.read() as session:
            due = ledger.due_checkpoints(session, self._settings.checkpoint_interval_s)
        for tenant_id in due:
            try:
                with self._database.write() as session:
                    ledger.add_checkpoint(session, tenant_id, self._sign)
            except Conflict as error:
                _log.error("audit log damaged", tenant=str(tenant_id), **error.extensions)

    def _sign(self, head: LogHead) -> SignedHead:
        """Sign with the key as it is now: it may have been rotated since the start."""
        create = self._settings.mode == "embedded"
        return sign_head(head, load_signer(self._settings.signing_key_file, create=create))

    def collect(self) -> None:
        """Remove artifacts that nobody names; each sweeper watches for itself."""
        self._collector.collect()


def up(
    output: Output, *, home: Path | None, host: str | None, port: int | None, workers: int
) -> None:
    """Prepare the home folder and run everything on this machine until told to stop."""
    if home is not None:
        os.environ["EXPUNGE_HOME"] = str(home)
    settings = get_settings()
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["EXPUNGE_HOME"] = str(settings.home)
    with closing(Database.from_settings(settings)) as database:
        database.migrate()
        ensure_admin_key(database, settings, output)
    host, port = host or settings.host, settings.port if port is None else port
    watcher = Watcher(_processes(settings, host, port, workers), output.say)
    watcher.start()
    try:
        _announce(watcher, output, f"http://{host}:{port}")
    finally:
        watcher.run()


def ensure_admin_key(database: Database, settings: Settings, output: Output) -> Path:
    """Make the first key of the default tenant once; print it and keep it for this machine."""
    path = settings.home / ADMIN_KEY_FILE
    if path.exists():
        return path
    with database.write() as session:
        tenant = ensure_tenant(session)
        _, token = create_key(session, tenant.id, "admin")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{token}\n")
    output.say(f"Your API key, shown once and kept in {path}: {token}")
    return path


def _processes(settings: Settings, host: str, port: int, workers: int) -> list[Watched]:
    """Return the API, the sweeper and the workers, cores shared evenly among these."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    count = workers or settings.workers or min(cores, MAX_WORKERS)
    threads = settings.threads or max(1, cores // count)
    command = [sys.executable, "-m", "service.cli"]
    environment = {"EXPUNGE_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    return [
        Watched("api", [*command, "serve", "--host", host, "--port", str(port)]),
        Watched("sweeper", [*command, "sweep"]),
        *(
            Watched(name, [*command, "worker", "--name", name], environment)
            for name in (f"worker{number}" for number in range(1, count + 1))
        ),
    ]


def _announce(watcher: Watcher, output: Output, url: str) -> None:
    """Say where the service is as soon as it answers; give up when it never does."""
    deadline = time.monotonic() + 60
    while not watcher.stopping:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):  # noqa: S310 - our own URL
                output.say(f"Expunge runs at {url} — stop it with Ctrl-C.")
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise CommandFailed(f"The service does not answer at {url}: {error}") from error
            time.sleep(0.1)
