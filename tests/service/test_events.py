"""The event stream sends states: whoever was away has missed nothing."""

import uuid
from datetime import UTC, datetime

import anyio
import pytest
from fastapi.sse import ServerSentEvent

from service import events
from service.resources import Audit, Links, Progress

KEY = uuid.UUID(int=1)


def audit(percent: int, status: str = "in_progress", verdict: str | None = None) -> Audit:
    """Return an audit as it stands at some time."""
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    progress = Progress(phase="auditing", percent=percent, detail="", step=percent, total=100)
    return Audit.model_validate(
        {
            "id": KEY,
            "model_id": KEY,
            "purpose": "external",
            "request_id": None,
            "comparison": None,
            "level": "references",
            "base_version": 1,
            "label": "vendor",
            "status": status,
            "progress": progress,
            "verdict": verdict,
            "reason_code": None,
            "reason": None,
            "num_samples": 2,
            "commitment": "0" * 64,
            "commitment_salt": None,
            "weights_sha256": "0" * 64,
            "policy_digest": "0" * 64,
            "created_by": "key:x",
            "created_at": moment,
            "closed_at": None,
            "links": Links.of("audits", KEY),
        }
    )


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once."""
    monkeypatch.setattr(events, "POLL_S", 0)


def stream(*states: Audit, last_event_id: str | None = None) -> list[ServerSentEvent]:
    """Return the events of a resource that goes through these states."""
    first, *later = states

    async def collect() -> list[ServerSentEvent]:
        left = iter(later)
        return [event async for event in events.follow(lambda: next(left), first, last_event_id)]

    return anyio.run(collect)


def test_progress_and_states_are_told_apart_and_the_end_comes_once() -> None:
    found = stream(audit(0), audit(0), audit(40), audit(100, "completed", "FAIL"))
    assert [event.event for event in found] == ["snapshot", "progress", "state", "done"]
    assert found[1].data["percent"] == 40
    assert found[-1].data["verdict"] == "FAIL"


def test_who_resumes_gets_a_snapshot_only_of_what_is_new() -> None:
    closed = audit(100, "completed", "PASS")
    last = stream(closed)[-1].id
    assert [event.event for event in stream(closed, last_event_id=last)] == ["done"]
    assert [e.event for e in stream(closed, last_event_id="1-stale")] == ["snapshot", "done"]


def test_event_ids_grow_and_are_one_line() -> None:
    ids = [event.id or "" for event in stream(audit(0), audit(1), audit(2, "failed"))]
    times = [int(key.partition("-")[0]) for key in ids]
    assert times == sorted(times)
    assert all(key.isprintable() for key in ids)
