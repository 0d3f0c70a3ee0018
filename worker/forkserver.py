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
import gc
import importlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

CLOSE_TIMEOUT_S = 2.0
_MESSAGE = struct.Struct("=ci")
_NUMBER = struct.Struct("=i")
_FORK, _KILL = b"F", b"K"
_ROOT = Path(__file__).resolve().parent.parent

_ALLOWED = {"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV"}
_ALLOWED_PREFIXES = ("CUDA_", "LC_", "MKL_", "NCCL_", "NVIDIA_", "OMP_", "PYTHON", "PYTORCH_")
_FORCED = {
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
                    [sys.executable, "-m", "worker.forkserver", str(theirs.fileno()), self._entry],
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
            self._send(_FORK, 0, [theirs.fileno(), server_status])
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
            self._send(_KILL, pid, [])

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
            message = [_MESSAGE.pack(operation, number)]
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
    content = os.read(descriptor, _NUMBER.size)  # a pipe write this short comes whole
    return None if len(content) < _NUMBER.size else int(_NUMBER.unpack(content)[0])


class _Server:
    """The server's side; runs in its own process, in one thread."""

    def __init__(self, control: socket.socket, entry: str) -> None:
        self.control = control
        self.main = importlib.import_module(entry).main
        self.children: dict[int, int] = {}
        self.wake, self.waker = os.pipe()
        os.set_blocking(self.waker, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Fork, kill and reap until the supervisor is gone."""
        while True:
            ready, _, _ = select.select([self.control.fileno(), self.wake], [], [])
            if self.wake in ready:
                os.read(self.wake, 512)
                self.reap()
            if self.control.fileno() in ready and not self.obey():
                return

    def obey(self) -> bool:
        """Handle one message; return False at the end of the control socket."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self.control, _MESSAGE.size, 2)
        except ConnectionResetError:
            return False
        if len(message) < _MESSAGE.size:
            return False
        operation, pid = _MESSAGE.unpack(message)
        if operation == _FORK:
            self.fork(*descriptors)
        elif pid in self.children:
            _kill_group(pid)
        return True

    def fork(self, channel: int, status: int) -> None:
        """Fork a child that runs the entry's `main` and never returns here."""
        pid = os.fork()
        if pid == 0:
            os.close(status)
            self.become_child(channel)
        os.close(channel)
        self.children[pid] = status
        with contextlib.suppress(BrokenPipeError):
            os.write(status, _NUMBER.pack(pid))

    def become_child(self, channel: int) -> None:
        """Let go of everything of the server and run the job."""
        code = 1
        try:
            os.setsid()  # one group to kill, with whatever the job starts
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            for descriptor in (self.control.detach(), self.wake, self.waker):
                os.close(descriptor)
            for descriptor in self.children.values():
                os.close(descriptor)
            code = self.main(Connection(channel))
        except BaseException:  # noqa: BLE001 - whatever it is, a fork must not return to the server
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def reap(self) -> None:
        """Tell each ended child's supervisor its exit code."""
        for pid in list(self.children):
            if _has_ended(pid):
                _kill_group(pid)  # what the job started must not outlive it; its id is still held
                _, status = os.waitpid(pid, 0)
                descriptor = self.children.pop(pid)
                with contextlib.suppress(BrokenPipeError):
                    os.write(descriptor, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
                os.close(descriptor)


def _has_ended(pid: int) -> bool:
    """Tell whether a child has ended, leaving it to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    """Kill the process group that a child leads, and the child in case it leads none yet."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def main(descriptor: int, entry: str) -> None:
    """Serve until the control socket ends, then take all children along."""
    server = _Server(socket.socket(fileno=descriptor), entry)
    gc.collect()
    gc.freeze()  # keeps the imported modules' pages shared with the children
    server.serve()
    for pid in server.children:
        _kill_group(pid)
    os._exit(0)  # taking torch down in order costs seconds and serves nobody


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
