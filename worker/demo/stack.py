"""Start the embedded stack as a child process and stop it again."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30


class StackFailed(RuntimeError):
    """The stack did not become ready, or ended by itself; the log file says why."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running_stack(home: Path, data_root: Path, port: int) -> Iterator[str]:
    """Run `expunge up` on an empty home; yield its base URL once it is ready.

    Raises:
        StackFailed: The stack ended or was not ready in time.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / "stack.log"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("EXPUNGE_")},
        "EXPUNGE_HOME": str(home),
        "EXPUNGE_DATA_ROOTS": f'["{data_root}"]',
    }
    command = [sys.executable, "-m", "service.cli", "up", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, log)
            yield url
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StackFailed(f"`expunge up` ended with {process.returncode}; see {log}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise StackFailed(f"`expunge up` was not ready within {START_TIMEOUT_S} s; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
