"""A server of several processes is one server: its metrics add up."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop

from service.cli import operating
from service.database import Database


def test_the_metrics_of_all_processes_add_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'expunge.db'}"
    with closing(Database(url)) as database:
        database.migrate()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    told = {"EXPUNGE_HOME": str(tmp_path), "EXPUNGE_DATABASE_URL": url}
    command = [sys.executable, "-m", "service.cli", "serve", "--processes", "2"]
    process = subprocess.Popen([*command, "--port", str(port)], env=os.environ | told)
    try:
        _await(port, process)
        for _ in range(20):  # each over a connection of its own, so that both processes answer
            _get(port, "/.well-known/jwks.json")
        counts = {_counted(_get(port, "/metrics")) for _ in range(10)}
    finally:
        process.terminate()
        process.wait()
    assert counts == {20.0}


def test_answers_are_sent_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # asyncio leaves Nagle's algorithm on for sockets that uvicorn's processes share
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path))
    monkeypatch.setattr(operating, "configure_logging", lambda _: None)
    started: list[uvicorn.Config] = []

    def note(*of: Any, **how: Any) -> None:  # noqa: ANN401 - as uvicorn.run
        started.append(uvicorn.Config(*of, **how))

    monkeypatch.setattr(uvicorn, "run", note)
    operating.serve(None, 0, processes=1)
    [config] = started
    assert config.get_loop_factory() is uvloop.new_event_loop


def _counted(text: str) -> float:
    found = re.search(r"expunge_http_requests_total\{[^}]*jwks[^}]*\} (\S+)", text)
    return float(found[1]) if found else 0.0


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            _get(port, "/healthz")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")
