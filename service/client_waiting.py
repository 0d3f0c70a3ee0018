"""How the Python client waits for what goes on on the server."""

import time
from collections.abc import Callable

import httpx2

MAX_WAITS = 5
MAX_WAIT_S = 60.0


class WaitTimeout(TimeoutError):
    """What was waited for did not end in time."""


def sleep_until(deadline: float, seconds: float) -> None:
    """Sleep, but no longer than until a time of `time.monotonic`.

    Raises:
        WaitTimeout: That time is over.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise WaitTimeout("It did not close in time; it goes on on the server.")
    time.sleep(min(seconds, left))


def patiently(send: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Send, and send again as `Retry-After` says while the answer is 429, at most five times.

    A call that was answered so has done nothing. The last answer is returned, whatever it is; one
    that asks for more than a minute is not waited for.
    """
    response = send()
    for _ in range(MAX_WAITS):
        wait = response.headers.get("retry-after", "")
        if response.status_code != 429 or not wait.isdecimal() or int(wait) > MAX_WAIT_S:
            break
        time.sleep(int(wait))
        response = send()
    return response
