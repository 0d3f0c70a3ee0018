"""The talk with a child, which decodes hostile bytes and so is not believed.

Its messages are read in a thread of their own: a child that sends half a message, or none, must not
keep its supervisor from cancelling, stopping or timing out.
"""

import math
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any

from worker.channel import encode, receive
from worker.errors import FatalFailure, JobFailure, TransientFailure, UsageFailure
from worker.forkserver import Child

POLL_S = 0.2
LAST_WORDS_S = 5.0
MAX_DETAIL = 2000
_FAILURES: dict[str, type[JobFailure]] = {
    kind.kind: kind for kind in (FatalFailure, TransientFailure, UsageFailure)
}

Report = Callable[[dict[str, Any]], None]


def converse(
    child: Child,
    spec: dict[str, Any],
    *,
    report: Report,
    check: Callable[[], None],
    timeout_s: float,
) -> dict[str, Any]:
    """Hand over the specification, pass on progress, return the result; the child is gone then.

    Args:
        child: Closed in every case.
        spec: The job's specification.
        report: Called with each progress, cut to size.
        check: Called several times a second; raises to end the job.
        timeout_s: How long the child may take.

    Raises:
        JobFailure: The child failed, died, took too long or answered nonsense.
    """
    try:
        with ThreadPoolExecutor(1, "conversation") as pool:
            try:
                answer = pool.submit(_listen, child.channel, spec, report)
                return _await(answer, child, check, timeout_s)
            finally:
                child.kill()  # so that the listener comes to an end
    finally:
        child.close()


def _listen(channel: Connection, spec: dict[str, Any], report: Report) -> dict[str, Any]:
    """Send the specification and return the first message that is no progress."""
    channel.send_bytes(encode(spec))
    while True:
        message = receive(channel)
        if "progress" not in message:
            return message
        report(_cut(message["progress"]))


def _await(
    answer: "Future[dict[str, Any]]", child: Child, check: Callable[[], None], timeout_s: float
) -> dict[str, Any]:
    """Return the result in the answer as soon as there is one."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            message = answer.result(timeout=POLL_S)
        except TimeoutError:
            check()
            if time.monotonic() > deadline:
                raise FatalFailure(
                    "timed_out", f"The job did not end within {timeout_s / 3600:.3g} hours."
                ) from None
        except (EOFError, OSError) as error:
            check()
            raise _death(child) from error
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise _nonsense() from error
        else:
            return _result(message)


def _result(message: dict[str, Any]) -> dict[str, Any]:
    """Return the result, or raise the failure that the child reports."""
    if (error := message.get("error")) is None:
        result = message.get("result")
        if not isinstance(result, dict) or not isinstance(result.get("artifacts"), dict):
            raise _nonsense()
        return result
    if not isinstance(error, dict):
        raise _nonsense()
    failure = _FAILURES.get(str(error.get("kind")), FatalFailure)
    raise failure(str(error.get("code"))[:64], str(error.get("detail"))[:MAX_DETAIL])


def _death(child: Child) -> JobFailure:
    """Say how a child ended that closed its channel without an answer."""
    code = child.wait() if wait([child.status], LAST_WORDS_S) else 0
    if code == -signal.SIGKILL:
        return TransientFailure(
            "killed",
            "The job's process was killed, most often because the machine ran out of memory."
            " Give the worker more memory, or run fewer workers on this machine.",
        )
    if code is not None and code < 0:
        name = signal.strsignal(-code) or f"signal {-code}"
        return TransientFailure("crashed", f"The job's process crashed: {name}.")
    return TransientFailure("no_answer", "The job's process ended without an answer.")


def _nonsense() -> FatalFailure:
    return FatalFailure("answer_unreadable", "The job's answer makes no sense.")


def _cut(progress: dict[str, Any]) -> dict[str, Any]:
    """Keep of a progress what the database and a page can hold."""
    step, total = float(progress["step"]), float(progress["total"])
    if not (math.isfinite(total) and 0 <= step <= total):
        raise ValueError("A progress counts from 0 to its total.")
    return {
        "phase": str(progress["phase"])[:64],
        "step": int(step),
        "total": int(total),
        "detail": str(progress.get("detail", ""))[:200],
    }
