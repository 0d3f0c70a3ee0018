"""A process that has imported everything heavy and forks one child for each job.

Importing torch costs seconds; forking costs milliseconds. The server is started with an environment
of its own that holds no credentials, stays single-threaded, and never touches CUDA, so that each
child can. It is a small one rather than `multiprocessing`'s, because that one hands the
worker's whole environment to its children and lets a parent unpickle what a child wrote.

    supervisor ──control socket: "F" + two descriptors, or "K" + process id──▶ server
    supervisor ◀──────────────── status pipe: process id, then exit code ───── server
    supervisor ◀──────────────── channel: JSON in both directions ───────────▶ child

The end of the control socket ends the server and every child.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from worker.forking import FORK, KILL, MESSAGE, NUMBER

CLOSE_TIMEOUT_S = 2.0
_ROOT = Path(__file__).resolve().parent.parent

_ALLOWED = {"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV"}
_ALLOWED_PREFIXES = ("CUDA_", "LC_", "MKL_", "NCCL_", "NVIDIA_", "OMP_", "PYTHON", "PYTORCH_")
_FORCED = {
    # glibc otherwise hands every activation back to the kernel: up to a third of a CPU job's time
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1",  # the server stays single-threaded; a child sets its own number
    "OPENBLAS_NUM_THREADS": "1",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking whether there is a GPU must not open it
}


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return only what a child needs of `environment`: no URL, key, pepper or cloud secret."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }
    path = os.pathsep.join(part for part in (str(_ROOT), kept.get("PYTHONPATH", "")) if part)
    return kept | _FORCED | {"PYTHONPATH": path}


class ForkServerError(Exception):
    """Raise when the server could not be started or ended before it forked."""


class Child:
    """One forked process, as its supervisor sees it.

    Attributes:
        channel: JSON bytes in both directions; closing it also ends the child.
        status: Descriptor that turns readable when the child has ended.
    """

    def __init__(self, server: "ForkServer", channel: Connection, status: int, pid: int) -> None:
        self._server = server
        self.channel = channel
        self.status = status
        self.pid = pid

    def kill(self) -> None:
        """End the child and everything that it started; harmless when it has ended already."""
        self._server.kill(self.pid)

    def wait(self) -> int | None:
        """Wait for the end; return the exit code (negative: a signal), None if nobody knows it."""
        return _read_number(self.status)

    def close(self) -> None:
        """Kill what still runs, wait for it and close both descriptors."""
        self.kill()
        self.channel.close()
        with contextlib.suppress(OSError):
            self.wait()
        os.close(self.status)


class ForkServer:
    """Start children from a server process that is started again when it dies.

    Args:
        environment: The environment of server and children; see `scrubbed`.
        entry: Module that the server imports; a child runs its ``main(Connection) -> int``.
    """

    def __init__(self, environment: Mapping[str, str], entry: str = "worker.child") -> None:
        self._environment = dict(environment)
        self._entry = entry
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def ensure_running(self) -> None:
        """Start the server unless it runs; return at once, while it still imports."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._close()
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "worker.forking", str(theirs.fileno()), self._entry],
                    env=self._environment,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the supervisor to handle
                )
            self._control = ours

    def start(self) -> Child:
        """Fork a child; start a dead server again once.

        Raises:
            ForkServerError: The server ends before it forks: its standard error says why.
        """
        for _ in range(2):
            self.ensure_running()
            child = self._try_start()
            if child is not None:
                return child
        raise ForkServerError("The fork server ended before it could fork.")

    def _try_start(self) -> Child | None:
        ours, theirs = socket.socketpair()
        status, server_status = os.pipe()
        try:
            self._send(FORK, 0, [theirs.fileno(), server_status])
        except OSError:
            self._give_up(ours, status)
            return None
        finally:
            theirs.close()
            os.close(server_status)
        pid = _read_number(status)
        if pid is None:
            self._give_up(ours, status)
            return None
        return Child(self, Connection(ours.detach()), status, pid)

    def kill(self, pid: int) -> None:
        """Ask the server to kill one of its children, by its process group."""
        with contextlib.suppress(OSError):
            self._send(KILL, pid, [])

    @property
    def pid(self) -> int | None:
        """Return the server's process id, None before the first start."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the server and all of its children."""
        with self._lock:
            self._close()

    def _send(self, operation: bytes, number: int, descriptors: list[int]) -> None:
        with self._lock:
            if self._control is None:
                raise OSError("The fork server does not run.")
            message = [MESSAGE.pack(operation, number)]
            socket.send_fds(self._control, message, descriptors)

    def _give_up(self, channel: socket.socket, status: int) -> None:
        """Close what was meant for a child and make sure that the failed server is gone."""
        channel.close()
        os.close(status)
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _close(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is None:
            return
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # it may be in the middle of its imports
            self._process.kill()
            self._process.wait()


def _read_number(descriptor: int) -> int | None:
    content = os.read(descriptor, NUMBER.size)  # a pipe write this short comes whole
    return None if len(content) < NUMBER.size else int(NUMBER.unpack(content)[0])
