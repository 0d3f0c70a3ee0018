"""How the Python client waits for what goes on on the server."""

import time


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
