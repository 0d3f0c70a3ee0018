"""An open-loop load: calls arrive at random at a given rate, whether or not earlier ones ended.

A call's latency counts from the moment at which it was due, so that a server that falls behind
can't hide it by being asked less.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

CONNECTIONS = 32
LIMIT_S = 0.1
"""What p99 has to stay under."""
CLOSE_ENOUGH = 1.15
"""The search ends when the rates that are and aren't sustained are within this factor."""
LOWEST_RATE = 1.0


@dataclass
class Latencies:
    """Seconds of the calls of one round; `given_up` when it was ended early for being too slow."""

    seconds: list[float] = field(default_factory=list)
    given_up: bool = False

    def percentile(self, share: float) -> float:
        """Return a percentile by linear interpolation."""
        ordered = sorted(self.seconds)
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    @property
    def good(self) -> bool:
        """Whether p99 stayed under the limit."""
        return not self.given_up and self.percentile(0.99) < LIMIT_S


class Connection:
    """One kept-alive connection that speaks as much HTTP/1.1 as uvicorn answers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, message: bytes, expected: int) -> bytes:
        """Send a whole message and return the answer's body.

        Raises:
            RuntimeError: The status is another one.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].split("\r\n", 1)[0])
        body = await reader.readexactly(length)
        if not head.startswith(f"http/1.1 {expected} "):
            raise RuntimeError(f"{head.splitlines()[0]}: {body[:300]!r}")
        return body

    async def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()


def message(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """Return a request as bytes."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Accept: application/json",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(port: int, messages: Sequence[bytes], expected: int, rate: float, seed: int) -> Latencies:
    """Send all messages at `rate` calls a second on average and return their latencies.

    Ends early when so many were late that p99 can't be good any more.
    """
    return asyncio.run(_load(port, messages, expected, rate, random.Random(seed)))  # noqa: S311


def saturate(port: int, messages: Sequence[bytes], expected: int, clients: int) -> float:
    """Send all messages from clients that never rest and return calls a second."""
    return asyncio.run(_saturate(port, messages, expected, clients))


async def _saturate(port: int, messages: Sequence[bytes], expected: int, clients: int) -> float:
    waiting = list(messages)

    async def one(connection: Connection) -> None:
        while waiting:
            await connection.call(waiting.pop(), expected)
        await connection.close()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(one(Connection(port)))
    return len(messages) / (time.perf_counter() - started)


async def _load(
    port: int, messages: Sequence[bytes], expected: int, rate: float, chance: random.Random
) -> Latencies:
    idle: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(Connection(port))
    found, late = Latencies(), itertools.count(1)
    too_many = len(messages) // 100 + 2

    async def one(content: bytes, due: float) -> None:
        connection = await idle.get()
        await connection.call(content, expected)
        idle.put_nowait(connection)
        seconds = time.perf_counter() - due
        found.seconds.append(seconds)
        if seconds > LIMIT_S and next(late) > too_many:
            found.given_up = True

    async with asyncio.TaskGroup() as group:
        due = time.perf_counter()
        for content in messages:
            due += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if found.given_up:
                break
            group.create_task(one(content, due))
    while not idle.empty():
        await idle.get_nowait().close()
    return found


class Search:
    """Find the highest rate at which p99 stays under the limit: double, then halve the interval.

    A rate that fails gets a second try, for other work on the machine makes single calls late.
    """

    def __init__(self, measure: Callable[[float], Latencies], start: float) -> None:
        self._measure = measure
        self._low, self._high, self._next = 0.0, float("inf"), start
        self.tried: list[tuple[float, bool]] = []
        self.best: Latencies | None = None

    @property
    def rate(self) -> float:
        """The highest rate that was sustained, calls a second."""
        return self._low

    @property
    def over(self) -> bool:
        """Whether it is known well enough."""
        return self._high < self._low * CLOSE_ENOUGH or self._high < LOWEST_RATE

    def step(self) -> None:
        """Try one rate."""
        rate = self._next
        found = self._measure(rate)
        if not found.good:
            found = self._measure(rate)
        self.tried.append((round(rate, 2), found.good))
        if found.good:
            self._low, self.best = rate, found
        else:
            self._high = rate
        if self._high == float("inf"):
            self._next = 2 * rate
        else:
            self._next = (self._low * self._high) ** 0.5 if self._low else rate / 2
