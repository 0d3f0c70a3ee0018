"""Children that lie, babble, stall or die: the supervisor keeps its head and its timetable."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.conversation import converse
from worker.errors import FatalFailure, JobFailure, TransientFailure, UsageFailure
from worker.forkserver import ForkServer, scrubbed

ENTRY = """
import json, os, pickle, signal, struct, sys, time

class Trap:
    def __reduce__(self):
        return (os.system, ("touch trapped",))

def main(channel):
    spec = json.loads(channel.recv_bytes())
    what, send = spec["what"], channel.send_bytes
    if what == "bytes":
        send(spec["bytes"].encode())
    elif what == "pickle":
        send(pickle.dumps(Trap()))
    elif what == "deep":
        send(b"[" * 1_000_000)
    elif what == "half":
        os.write(channel.fileno(), struct.pack("!i", 1000) + b"{")
        time.sleep(600)
    elif what == "endless":
        os.write(channel.fileno(), struct.pack("!i", -1) + struct.pack("!Q", 1 << 62))
        time.sleep(600)
    elif what == "silent":
        time.sleep(600)
    elif what == "closed":
        channel.close()
        time.sleep(600)
    elif what == "chatter":
        while True:
            send(json.dumps({"progress": spec["progress"]}).encode())
    elif what == "signal":
        os.kill(os.getpid(), spec["number"])
    return 0
"""


class Stop(Exception):
    """What a check raises to end a job."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    folder = tmp_path_factory.mktemp("entry")
    (folder / "hostile_entry.py").write_text(ENTRY)
    server = ForkServer(scrubbed(os.environ | {"PYTHONPATH": str(folder)}), "hostile_entry")
    yield server
    server.close()


def talk(server: ForkServer, timeout_s: float = 60, **spec: Any) -> dict[str, Any]:  # noqa: ANN401
    return converse(
        server.start(), spec, report=lambda _: None, check=lambda: None, timeout_s=timeout_s
    )


def failure(server: ForkServer, timeout_s: float = 60, **spec: Any) -> JobFailure:  # noqa: ANN401
    with pytest.raises(JobFailure) as caught:
        talk(server, timeout_s, **spec)
    return caught.value


def test_a_result_is_returned(server: ForkServer) -> None:
    answer = '{"result": {"artifacts": {}, "seconds": 1}}'
    assert talk(server, what="bytes", bytes=answer)["seconds"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        "{" * 2000,
        '{"result": []}',
        '{"result": {}}',
        '{"result": {"artifacts": []}}',
        '{"error": "words"}',
        '{"progress": 3}',
        '{"progress": {"phase": "x", "step": "many", "total": 2}}',
        '{"progress": {"phase": "x", "step": 3, "total": 2}}',
        '{"progress": {"phase": "x", "step": 3, "total": Infinity}}',
    ],
)
def test_nonsense_ends_the_job(server: ForkServer, answer: str) -> None:
    refused = failure(server, what="bytes", bytes=answer)
    assert isinstance(refused, FatalFailure)
    assert refused.code == "answer_unreadable"


def test_json_nested_too_deep_ends_the_job(server: ForkServer) -> None:
    assert failure(server, what="deep").code == "answer_unreadable"


def test_a_pickle_is_never_opened(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert failure(server, what="pickle").code == "answer_unreadable"
    assert not (tmp_path / "trapped").exists()


def test_an_error_keeps_its_kind_and_is_cut_to_size(server: ForkServer) -> None:
    words = '{"error": {"kind": "usage", "code": "c", "detail": "%s"}}' % ("x" * 10_000)
    refused = failure(server, what="bytes", bytes=words)
    assert isinstance(refused, UsageFailure)
    assert len(refused.detail) == 2000


def test_an_error_of_an_unknown_kind_is_fatal(server: ForkServer) -> None:
    words = '{"error": {"kind": "retry me for ever", "code": "c", "detail": "d"}}'
    assert isinstance(failure(server, what="bytes", bytes=words), FatalFailure)


@pytest.mark.parametrize("what", ["half", "silent"])
def test_a_child_that_stalls_is_timed_out(server: ForkServer, what: str) -> None:
    assert failure(server, 0.3, what=what).code == "timed_out"


def test_a_message_without_end_is_not_waited_for(server: ForkServer) -> None:
    assert isinstance(failure(server, what="endless"), TransientFailure)


def test_a_child_that_hangs_up_and_lives_on_is_ended(
    server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.conversation.LAST_WORDS_S", 0.1)
    assert failure(server, what="closed").code == "no_answer"


def test_an_end_without_an_answer_is_tried_again(server: ForkServer) -> None:
    refused = failure(server, what="leave")
    assert isinstance(refused, TransientFailure)
    assert refused.code == "no_answer"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "crashed"), (signal.SIGRTMIN + 3, "crashed")],
)
def test_a_death_by_signal_is_told_and_tried_again(
    server: ForkServer, number: int, code: str
) -> None:
    refused = failure(server, what="signal", number=int(number))
    assert isinstance(refused, TransientFailure)
    assert refused.code == code


def test_chatter_does_not_keep_the_job_from_being_stopped(server: ForkServer) -> None:
    heard: list[dict[str, Any]] = []

    def check() -> None:
        if heard:
            raise Stop

    progress = {"phase": "p" * 1000, "step": 1, "total": 2, "detail": "d" * 1000, "more": "x"}
    spec = {"what": "chatter", "progress": progress}
    with pytest.raises(Stop):
        converse(server.start(), spec, report=heard.append, check=check, timeout_s=60)
    assert heard[0] == {"phase": "p" * 64, "step": 1, "total": 2, "detail": "d" * 200}
