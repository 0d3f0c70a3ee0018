"""Follow a request or an audit as server-sent events.

The stream sends states, not changes: a client that was away gets the present one and has missed
nothing. An event's id is the time and a digest of what was sent, so a client that resumes with
Last-Event-ID is sent a snapshot only if something has changed meanwhile.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Callable

import anyio
from fastapi.sse import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.request_resources import DeletionRequest
from service.resources import Audit

POLL_S = 0.5
RETRY_MS = 2000
_OPEN = frozenset({"pending", "in_progress", "on_hold"})

Resource = DeletionRequest | Audit


async def follow(
    read: Callable[[], Resource], first: Resource, last_event_id: str | None
) -> AsyncIterator[ServerSentEvent]:
    """Yield ``snapshot``, then ``progress`` and ``state`` as they come, then ``done``.

    Args:
        read: Reads the resource anew; runs in a thread.
        first: What it is now.
        last_event_id: The header Last-Event-ID.
    """
    known = (last_event_id or "").rpartition("-")[2]
    if known != _digest(first):
        yield _event("snapshot", first, retry=RETRY_MS)
    present = first
    while present.status in _OPEN:
        await anyio.sleep(POLL_S)
        latest = await run_in_threadpool(read)
        if _without_progress(latest) != _without_progress(present):
            yield _event("state", latest)
        elif latest.progress != present.progress:
            yield _event("progress", latest)
        present = latest
    yield _event("done", present)


def _event(name: str, resource: Resource, retry: int | None = None) -> ServerSentEvent:
    identity = f"{time.time_ns() // 1_000_000}-{_digest(resource)}"
    data = resource.progress if name == "progress" else resource
    return ServerSentEvent(data=data.model_dump(mode="json"), event=name, id=identity, retry=retry)


def _digest(resource: Resource) -> str:
    text = resource.model_dump_json(exclude={"days_left"})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_progress(resource: Resource) -> str:
    return resource.model_dump_json(exclude={"progress", "days_left"})
