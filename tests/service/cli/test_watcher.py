"""The process watcher of `expunge up`: the dead start again, and all end together."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from service import embedded
from service.embedded import Watched, Watcher

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int) -> None:
    while is_running(pid):
        time.sleep(0.01)


def test_a_dead_process_starts_again_after_a_pause() -> None:
    said: list[str] = []
    watched = Watched("sleeper", SLEEPER, delay_s=0.0)
    watcher = Watcher([watched], said.append)
    watched.start()
    assert watched.process is not None
    first = watched.process.pid
    watched.process.kill()
    watched.process.wait()
    watcher._look_after(watched)
    assert watched.process is None
    watcher._look_after(watched)
    assert watched.process is not None
    assert watched.process.pid != first
    assert said == ["sleeper ended with -9; it starts again in 0 s."]
    watcher.end()


def test_the_pause_doubles_up_to_a_limit_and_is_forgotten_after_a_steady_run() -> None:
    watched = Watched("x", SLEEPER, started_at=time.monotonic())
    waits = [watched.note_end() for _ in range(7)]
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    watched.started_at = time.monotonic() - embedded.STEADY_S - 1
    assert watched.note_end() == 1


def test_a_signal_ends_everything() -> None:
    processes = [Watched(str(number), SLEEPER) for number in range(2)]
    watcher = Watcher(processes, print)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        watcher.start()
        pids = [watched.process.pid for watched in processes if watched.process]
        os.kill(os.getpid(), signal.SIGTERM)
        watcher.run()
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
    assert not any(is_running(pid) for pid in pids)


def test_a_process_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " print('ready', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        monkeypatch.setattr(embedded, "GRACE_S", 0.1)
        Watcher([Watched("stubborn", SLEEPER, process=process)], print).end()
    assert process.returncode == -signal.SIGKILL


def test_a_killed_watcher_takes_its_processes_along() -> None:
    code = f"""
        import sys
        from service.embedded import Watched
        watched = Watched("sleeper", {SLEEPER!r})
        watched.start()
        print(watched.process.pid, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watcher:
        assert watcher.stdout is not None
        pid = int(watcher.stdout.readline())
        watcher.kill()
    wait_until_gone(pid)
