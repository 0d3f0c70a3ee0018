"""The fork server: clean children, their ends, and its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.forkserver import Child, ForkServer, ForkServerError, scrubbed

ENTRY = """
import json, os, signal, subprocess, sys

def main(channel):
    while True:
        try:
            order = json.loads(channel.recv_bytes())
        except EOFError:
            return 9
        if order == "environment":
            channel.send_bytes(json.dumps(dict(os.environ)).encode())
        elif order == "descriptors":
            names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                     if os.path.islink(f"/proc/self/fd/{fd}")]
            channel.send_bytes(json.dumps(names).encode())
        elif order == "spawn":
            child = subprocess.Popen(["sleep", "600"])
            channel.send_bytes(json.dumps(child.pid).encode())
        elif order == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif order == "raise":
            raise RuntimeError("made up")
        else:
            return order
"""

SECRETS = {
    "EXPUNGE_DATABASE_URL": "postgresql://expunge:canary@db/expunge",
    "EXPUNGE_BROKER_URL": "redis://:canary@redis/0",
    "EXPUNGE_PEPPER_FILE": "/run/secrets/canary",
    "AWS_SECRET_ACCESS_KEY": "canary",
    "PGPASSWORD": "canary",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServer]:
    (tmp_path / "entry_of_test.py").write_text(ENTRY)
    environment = scrubbed(dict(os.environ) | SECRETS | {"PYTHONPATH": str(tmp_path)})
    server = ForkServer(environment, "entry_of_test")
    yield server
    server.close()


def _order(child: Child, order: object) -> None:
    child.channel.send_bytes(json.dumps(order).encode())


def _ask(child: Child, order: object) -> object:
    _order(child, order)
    return json.loads(child.channel.recv_bytes())


def _wait_until_gone(pid: int) -> None:
    """Return when a process that is not ours has ended; the test's timeout is the limit."""
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in _status(pid):
        time.sleep(0.01)


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "\nState:\tZ"


def test_a_child_holds_no_credentials(server: ForkServer) -> None:
    child = server.start()
    inside = json.dumps(_ask(child, "environment"))
    outside = Path(f"/proc/{child.pid}/environ").read_bytes()
    child.close()
    assert "canary" not in inside
    assert "EXPUNGE_" not in inside
    assert b"canary" not in outside
    assert b"EXPUNGE_" not in outside


def test_scrubbing_keeps_what_a_job_needs() -> None:
    kept = scrubbed({"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "HOME": "/h", **SECRETS})
    assert kept["PATH"] == "/bin"
    assert kept["CUDA_VISIBLE_DEVICES"] == "1"
    assert not set(kept) & set(SECRETS)


def test_a_child_inherits_no_descriptor_of_the_server(server: ForkServer) -> None:
    first, second = server.start(), server.start()
    sockets = [name for name in _ask(second, "descriptors") if name.startswith("socket:")]  # type: ignore[attr-defined]
    first.close()
    second.close()
    assert len(sockets) == 1


def test_the_exit_code_is_reported(server: ForkServer) -> None:
    child = server.start()
    _order(child, 5)
    assert child.wait() == 5
    child.close()


def test_a_signal_is_reported_as_a_negative_code(server: ForkServer) -> None:
    child = server.start()
    _order(child, "crash")
    assert child.wait() == -signal.SIGSEGV
    child.close()


def test_an_exception_in_a_child_stays_there(server: ForkServer) -> None:
    child = server.start()
    _order(child, "raise")
    assert child.wait() == 1
    child.close()
    after = server.start()
    assert _ask(after, "environment")
    after.close()


def test_killing_takes_along_what_the_child_started(server: ForkServer) -> None:
    child = server.start()
    grandchild = _ask(child, "spawn")
    assert isinstance(grandchild, int)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    _wait_until_gone(grandchild)
    child.close()


def test_closing_the_channel_ends_the_child(server: ForkServer) -> None:
    child = server.start()
    child.channel.close()
    assert child.wait() == 9
    os.close(child.status)


def test_a_dead_server_is_started_again(server: ForkServer) -> None:
    child = server.start()
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert child.wait() is None
    child.close()
    again = server.start()
    assert server.pid != first
    assert _ask(again, "environment")
    again.close()


def test_a_server_that_cannot_import_its_entry_is_an_error() -> None:
    server = ForkServer(scrubbed(os.environ), "no_such_module_of_test")
    with pytest.raises(ForkServerError):
        server.start()
    server.close()


def test_children_end_with_their_supervisor(tmp_path: Path) -> None:
    (tmp_path / "entry_of_test.py").write_text(ENTRY)
    code = f"""
        import os, sys
        from worker.forkserver import ForkServer, scrubbed
        environment = scrubbed(dict(os.environ, PYTHONPATH={str(tmp_path)!r}))
        server = ForkServer(environment, "entry_of_test")
        print(server.start().pid, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        supervisor.kill()
    _wait_until_gone(child)
