"""What runs inside a job's own process, between reading the specification and the answer.

It reads hostile bytes, so it holds no credentials and no connection but the channel to its
supervisor. It ends when its supervisor does: by the parent-death signal where the kernel has one,
and by the end of the channel everywhere.
"""

import ctypes
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import structlog

from service.logs import configure_lines
from unlearning.progress import Progress
from worker.channel import encode, receive
from worker.execution import execute
from worker.execution.failures import as_failure

PROGRESS_INTERVAL_S = 1.0
_PR_SET_PDEATHSIG = 1
_EXIT_ABANDONED = 3
_log = structlog.get_logger("worker.child")


def main(channel: Connection) -> int:
    """Run the one job whose specification comes over `channel` and answer there; return 0."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold training images
    os.umask(0o077)
    spec = receive(channel)
    threading.Thread(target=_end_with_channel, args=(channel,), daemon=True).start()
    _set_up_logging(spec.pop("log", {}))
    os.chdir(spec["workdir"])
    tempfile.tempdir = spec["workdir"]
    channel.send_bytes(_answer(spec, throttled(channel.send_bytes)))
    return 0


def _answer(spec: dict[str, Any], report: Callable[[Progress], None]) -> bytes:
    """Return the job's result, or the failure in a form that a person understands."""
    try:
        return encode({"result": execute(spec, report)})
    except Exception as error:  # noqa: BLE001 - any failure has to be reported over the channel
        failure = as_failure(error)
        if failure.code == "internal_error" and not isinstance(error, OSError):
            _log.error("job broke", exc_info=error)
        return encode({"error": failure.as_message()})


def _set_up_logging(told: dict[str, Any]) -> None:
    """Log as the supervisor does, each line with the ids of the call, the run and the job."""
    configure_lines(as_json=bool(told.get("json")))
    structlog.contextvars.bind_contextvars(**told.get("bound", {}))
    _log.info("job started", pid=os.getpid())


def throttled(
    send: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[Progress], None]:
    """Return a progress callback that sends at most one message a second."""
    last = -PROGRESS_INTERVAL_S + clock()

    def report(progress: Progress) -> None:
        nonlocal last
        if clock() - last < PROGRESS_INTERVAL_S:
            return
        last = clock()
        message = {
            "phase": progress.phase,
            "step": progress.step,
            "total": progress.total,
            "detail": progress.detail,
        }
        send(encode({"progress": message}))

    return report


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that forked it ends; Linux only."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(_EXIT_ABANDONED)


def _end_with_channel(channel: Connection) -> None:
    """End the process as soon as the supervisor's end of the channel is closed."""
    try:
        while True:
            receive(channel)
    except (EOFError, OSError, ValueError):
        os._exit(_EXIT_ABANDONED)
