"""What a worker process keeps from one job to the next."""

import os
import socket
import threading
from dataclasses import dataclass, field
from typing import Self

from service.config import Settings
from service.database import Database
from service.ledger import ReportContext, SignedReport
from service.reports import publish
from service.signing import Signer, load_signer
from service.storage import Storage
from service.tracing import Tracing
from worker.forkserver import ForkServer, scrubbed
from worker.workdirs import Workdirs

JOB_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True)
class Runtime:
    """Connections, folders and the fork server of one worker.

    Attributes:
        owner: Name of this worker in leases.
        stopping: Set when the worker was told to end.
        timeout_s: How long one job may run.
        tracing: What the spans of attempts are made with.
    """

    settings: Settings
    database: Database
    storage: Storage
    signer: Signer
    fork_server: ForkServer
    workdirs: Workdirs
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    stopping: threading.Event = field(default_factory=threading.Event)
    timeout_s: float = JOB_TIMEOUT_S
    tracing: Tracing = field(default_factory=Tracing)

    @classmethod
    def open(cls, settings: Settings, *, timeout_s: float = JOB_TIMEOUT_S) -> Self:
        """Connect, clean up after dead workers and let the fork server begin to import."""
        environment = scrubbed(os.environ) | {
            "MPLCONFIGDIR": str(settings.home / "matplotlib"),
        }
        signer = load_signer(settings.signing_key_file, create=settings.mode == "embedded")
        fork_server = ForkServer(environment)
        fork_server.ensure_running()
        workdirs = Workdirs(settings.home / "work")
        workdirs.remove_stale()
        tracing = Tracing()
        tracing.start(settings, "expunge-worker")
        return cls(
            settings=settings,
            database=Database.from_settings(settings),
            storage=Storage(settings.storage_url),
            signer=signer,
            fork_server=fork_server,
            workdirs=workdirs,
            timeout_s=timeout_s,
            tracing=tracing,
        )

    @property
    def threads(self) -> int:
        """Return how many threads a job may use: as set, else every core this process may use."""
        if self.settings.threads:
            return self.settings.threads
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def publish(self, context: ReportContext) -> SignedReport:
        """Build and sign a report, within the transaction that completes its job."""
        return publish(context, self.signer)

    def close(self) -> None:
        """End the fork server and its children, remove the folder, send the last spans."""
        self.fork_server.close()
        self.workdirs.close()
        self.database.close()
        self.tracing.close()
