"""The Python client against a scripted service."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from service.client import ENVELOPE, PAGE, ExpungeClient, ExpungeProblem, WaitTimeout

Handler = Callable[[httpx2.Request], httpx2.Response]


def connect(handler: Handler) -> ExpungeClient:
    """Return a client whose requests go to a function."""
    return ExpungeClient("http://test", "ex_live_a_b", transport=httpx2.MockTransport(handler))


def script(*answers: object) -> tuple[Handler, list[httpx2.Request]]:
    """Return a handler that gives these answers in turn, and the list of what it was asked."""
    asked: list[httpx2.Request] = []
    left = list(answers)

    def handle(request: httpx2.Request) -> httpx2.Response:
        request.read()
        asked.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        return httpx2.Response(200, json=answer)

    return handle, asked


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass at once."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


def test_a_request_carries_the_key_and_the_body() -> None:
    handle, asked = script({"id": "r"})
    with connect(handle) as client:
        assert client.open_request("m", ["a"], regulation="gdpr") == {"id": "r"}
    assert asked[0].headers["authorization"] == "Bearer ex_live_a_b"
    body = {"model_id": "m", "sample_ids": ["a"], "regulation": "gdpr"}
    assert json.loads(asked[0].content) == body


def test_a_problem_is_raised_with_its_code_and_places() -> None:
    errors = [{"pointer": "/sample_ids/1", "detail": "unknown"}]
    document = {"code": "unknown_samples", "detail": "1 is unknown.", "errors": errors}
    handle, _ = script(httpx2.Response(422, json=document))
    with connect(handle) as client, pytest.raises(ExpungeProblem) as caught:
        client.open_request("m", ["a", "b"])
    assert (caught.value.status, caught.value.code) == (422, "unknown_samples")
    assert "/sample_ids/1: unknown" in str(caught.value)


@pytest.mark.parametrize(
    "answer", [httpx2.Response(502, text="<html>"), httpx2.Response(500, json=["x"])]
)
def test_an_answer_that_is_no_problem_document_is_one_still(answer: httpx2.Response) -> None:
    handle, _ = script(answer)
    with connect(handle) as client, pytest.raises(ExpungeProblem) as caught:
        client.jwks()
    assert caught.value.code == "unknown"


def test_no_answer_is_a_problem_too() -> None:
    handle, _ = script(httpx2.ConnectError("refused"))
    with connect(handle) as client, pytest.raises(ExpungeProblem) as caught:
        client.jwks()
    assert (caught.value.status, caught.value.code) == (0, "no_answer")


def test_pages_are_read_to_the_end() -> None:
    handle, asked = script(
        {"items": [{"n": 1}], "next_cursor": "c"}, {"items": [{"n": 2}], "next_cursor": None}
    )
    with connect(handle) as client:
        assert [item["n"] for item in client.samples("d", label=3, split=None)] == [1, 2]
    assert asked[0].url.params["label"] == "3"
    assert asked[1].url.params["cursor"] == "c"
    assert "split" not in asked[0].url.params


def test_copies_of_a_request_are_read_to_the_end() -> None:
    handle, asked = script(
        {"items": [{"n": 1}], "next_cursor": "7"}, {"items": [{"n": 2}], "next_cursor": None}
    )
    with connect(handle) as client:
        assert [item["n"] for item in client.list_duplicates("r")] == [1, 2]
    assert {request.url.path for request in asked} == {"/v1/deletion-requests/r/duplicates"}


def test_files_travel_beside_their_order(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"tensors")
    handle, asked = script({"id": "m"}, {"id": "m"}, {"id": "a"})
    with connect(handle) as client:
        client.register_model("n", "d", weights, upload=True, architecture="expunge:mlp")
        client.register_model("n", "d", "w.safetensors")
        client.open_audit("m", weights, ["a"], label="us", upload=True)
    assert b'name="weights"' in asked[0].content
    assert b"tensors" in asked[0].content
    assert json.loads(asked[1].content)["weights_uri"] == "w.safetensors"
    assert b'name="audit"' in asked[2].content


def test_waiting_ends_when_the_request_is_closed() -> None:
    handle, _ = script({"status": "pending"}, {"status": "in_progress"}, {"status": "failed"})
    with connect(handle) as client:
        assert client.wait("r")["status"] == "failed"


def test_waiting_has_an_end() -> None:
    handle, _ = script({"status": "pending"})
    with connect(handle) as client, pytest.raises(WaitTimeout):
        client.wait("r", timeout_s=0)


def test_trials_are_started_and_waited_for() -> None:
    handle, asked = script(
        {"id": "q"},
        {"state": "running"},
        {"state": "live"},
        {"items": [{"id": "q"}], "next_cursor": None},
    )
    with connect(handle) as client:
        client.qualify("m", "muda", trials=3)
        assert client.wait_for_qualification("m", "q")["state"] == "live"
        assert client.qualifications("m") == [{"id": "q"}]
    assert json.loads(asked[0].content) == {"method": "muda", "trials": 3}
    assert [request.url.path for request in asked] == [
        "/v1/models/m/qualifications",
        *["/v1/models/m/qualifications/q"] * 2,
        "/v1/models/m/qualifications",
    ]


def stream(*events: tuple[str, str]) -> httpx2.Response:
    """Return an event stream with a ping in it."""
    blocks = [f"event: {name}\nid: {key}\ndata: {{}}\n\n" for key, name in events]
    text = ": ping\n\n".join(blocks)
    return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


def test_later_audits_of_a_request_are_asked_for() -> None:
    handle, asked = script({"id": "a"}, {"id": "b"})
    with connect(handle) as client:
        assert client.audit_request("r") == {"id": "a"}
        assert client.reproduce("r") == {"id": "b"}
    paths = [request.url.path for request in asked]
    assert paths == [f"/v1/deletion-requests/r/{name}" for name in ("audits", "reproductions")]
    assert json.loads(asked[0].content) == {"audit": "references"}


def test_following_resumes_where_the_stream_broke() -> None:
    handle, asked = script(
        stream(("1-a", "snapshot"), ("2-b", "progress")),
        httpx2.ReadError("broken"),
        stream(("3-c", "done")),
    )
    with connect(handle) as client:
        assert [event.name for event in client.follow("r")] == ["snapshot", "progress", "done"]
    assert "last-event-id" not in asked[0].headers
    assert [request.headers["last-event-id"] for request in asked[1:]] == ["2-b", "2-b"]


def test_reports_come_in_the_form_that_was_asked_for() -> None:
    handle, asked = script(
        {"_type": "x"}, httpx2.Response(200, text="<p>"), httpx2.Response(200, content=b"{}")
    )
    with connect(handle) as client:
        assert client.report("r") == {"_type": "x"}
        assert client.report("r", PAGE) == "<p>"
        assert client.report("a", ENVELOPE, kind="audit") == b"{}"
    assert asked[2].url.path == "/v1/audits/a/report"
    assert asked[2].headers["accept"] == ENVELOPE


def test_weights_are_written_to_a_file(tmp_path: Path) -> None:
    handle, _ = script(httpx2.Response(200, content=b"tensors"))
    with connect(handle) as client:
        path = client.download_weights("m", 2, tmp_path / "w")
    assert path.read_bytes() == b"tensors"


@pytest.mark.parametrize(("wait", "calls"), [("0", 3), ("3600", 1), ("soon", 1)])
def test_a_client_that_calls_too_often_waits_as_it_is_told(wait: str, calls: int) -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.url.path)
        if len(seen) < 3:
            headers = {"Retry-After": wait}
            return httpx2.Response(429, json={"code": "rate_limited"}, headers=headers)
        return httpx2.Response(200, json={"id": "m", "status": "ready"})

    with ExpungeClient("http://x", "k", transport=httpx2.MockTransport(answer)) as client:
        if calls == 1:
            with pytest.raises(ExpungeProblem, match="rate_limited"):
                client.model("m")
        else:
            assert client.model("m")["status"] == "ready"
    assert len(seen) == calls
