"""The fork server's own process: `python -m worker.forking <descriptor> <module>`.

It imports a module, then forks a child for each message on its control socket, kills children when
told to, reports how they ended, and ends with its supervisor. It has one thread: only then is a
fork safe.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
import traceback
from multiprocessing.connection import Connection

MESSAGE = struct.Struct("=ci")
NUMBER = struct.Struct("=i")
FORK, KILL = b"F", b"K"


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
            message, descriptors, _, _ = socket.recv_fds(self.control, MESSAGE.size, 2)
        except ConnectionResetError:
            return False
        if len(message) < MESSAGE.size:
            return False
        operation, pid = MESSAGE.unpack(message)
        if operation == FORK:
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
            os.write(status, NUMBER.pack(pid))

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
                    os.write(descriptor, NUMBER.pack(os.waitstatus_to_exitcode(status)))
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
