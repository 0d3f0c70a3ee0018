"""`expunge doctor`: one line a check, an exit code, and nothing secret."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import doctor
from service.cli import main
from service.config import Settings
from service.doctor.finding import Finding, fail, ok, warn

SECRET = "s3cr3t-of-the-house"
NAMES = {
    "python",
    "expunge",
    "extra service",
    "extra unlearning",
    "extra worker",
    "device",
    "database",
    "schema",
    "clock",
    "broker",
    "storage",
    "signing key",
    "pepper",
    "data root",
    "disk",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path))
    monkeypatch.setenv("EXPUNGE_DEVICE", "cpu")
    return tmp_path


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["expunge", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def _only(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    def check(_settings: Settings) -> Iterator[Finding]:
        yield from findings

    monkeypatch.setattr(doctor, "CHECKS", (check,))


def test_json_holds_every_check_of_a_migrated_home(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "migrate") == 0
    capsys.readouterr()
    assert _run(monkeypatch, "doctor", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"ok", "checks", "seconds"}
    assert document["ok"] is True
    assert {check["name"] for check in document["checks"]} == NAMES
    for check in document["checks"]:
        assert set(check) == {"name", "status", "detail", "action"}
        assert check["status"] in {"ok", "warn", "fail"}
        assert bool(check["action"]) == (check["status"] != "ok")


def test_a_warning_leaves_the_exit_code_and_a_failure_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, doubtful = ok("one", "fine [sic]"), warn("two", "so so", "Look at it.")
    _only(monkeypatch, good, doubtful)
    assert _run(monkeypatch, "doctor") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["ok    one: fine [sic]", "warn  two: so so", "      → Look at it."]
    _only(monkeypatch, good, doubtful, fail("three", "broken", "Mend it."))
    assert _run(monkeypatch, "doctor") == 1


def test_no_secret_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPUNGE_DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1:9/x")
    monkeypatch.setenv("EXPUNGE_BROKER_URL", f"redis://:{SECRET}@127.0.0.1:9/0")
    monkeypatch.setenv("EXPUNGE_STORAGE_URL", f"nosuch://key:{SECRET}@bucket?token={SECRET}2")
    for options in ((), ("--json",)):
        assert _run(monkeypatch, "doctor", *options) == 1
        shown = capsys.readouterr()
        assert SECRET not in shown.out + shown.err
        assert "127.0.0.1" in shown.out


def test_settings_that_cannot_be_read_are_named_without_their_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPUNGE_PORT", SECRET)
    assert _run(monkeypatch, "doctor") == 1
    shown = capsys.readouterr().err
    assert "port" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("code", [0, 1])
def test_the_audit_is_a_child_s_and_so_is_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[bytes]:
        assert not check
        asked.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", run)
    assert _run(monkeypatch, "doctor", "--audit", "--json") == code
    assert asked == [[sys.executable, "-m", "worker.doctor", "--audit", "--json"]]
