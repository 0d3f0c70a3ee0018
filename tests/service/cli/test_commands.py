"""The command line: exit codes, keys, words for problems, and a light start."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from service.cli import calls, main
from service.cli.connection import find_key
from service.cli.operating import ensure_admin_key
from service.cli.output import CommandFailed, Exit, Output
from service.config import get_settings
from service.database import Database

NO_REQUEST = "01a207c0-2ab4-73a1-84a9-a2eca40bef4f"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("EXPUNGE_API_KEY", "EXPUNGE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["expunge", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def run_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> Any:  # noqa: ANN401 - any JSON value
    assert run(monkeypatch, *arguments, "--json") == Exit.OK
    return json.loads(capsys.readouterr().out)


def test_the_start_loads_nothing_heavy() -> None:
    code = (
        "import sys; from service.cli import app;"
        "print(*{'torch', 'numpy', 'sqlalchemy', 'fastapi', 'celery'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_help_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == Exit.OK
    shown = capsys.readouterr().out
    for command in (
        "up",
        "serve",
        "worker",
        "sweep",
        "migrate",
        "demo",
        "doctor",
        "qualify",
        "forget",
        "hold",
        "extend",
        "approve",
        "audit",
        "reproduce",
        "verify",
        "keys",
    ):
        assert command in shown


def test_a_wrong_option_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "status", "--no-such-option") == Exit.USAGE


def test_without_a_key_the_words_say_how_to_give_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "status", NO_REQUEST) == Exit.USAGE
    assert "EXPUNGE_API_KEY" in capsys.readouterr().err


def test_a_service_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("status", NO_REQUEST, "--key", "x", "--url", "http://127.0.0.1:9")
    assert run(monkeypatch, *arguments) == Exit.UNREACHABLE


def test_an_address_that_is_none_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "status", "--key", "x", "--url", "nonsense") == Exit.USAGE


class _Trials:
    """A service whose trials end in a given state."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.asked: list[tuple[str, str, dict[str, object]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def qualify(self, model_id: str, method: str, **fields: object) -> dict[str, object]:
        self.asked.append((model_id, method, fields))
        return {"id": "q", "state": "running", "reason": None}

    def wait_for_qualification(self, model_id: str, key: str) -> dict[str, object]:
        return {"id": key, "state": self.state, "reason": "too few passed", "model": model_id}


@pytest.mark.parametrize(
    ("state", "wait", "code"),
    [("live", True, Exit.OK), ("unqualified", True, Exit.NOT_CLOSED), ("x", False, Exit.OK)],
)
def test_trials_are_started_and_waited_for_on_wish(
    monkeypatch: pytest.MonkeyPatch, state: str, wait: bool, code: Exit
) -> None:
    service = _Trials(state)
    monkeypatch.setattr("service.cli.calls.connect", lambda _url, _key: service)
    options = ("--kind", "class", "--trials", "3", *(("--wait",) if wait else ()))
    assert run(monkeypatch, "qualify", NO_REQUEST, "muda", *options) == code
    fields = {"trials": 3, "kinds": ["class"], "policy": "standard"}
    assert service.asked == [(NO_REQUEST, "muda", fields)]


def test_json_that_is_none_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("--dataset", NO_REQUEST, "--architecture", "expunge:mlp", "--weights", "w")
    bad = ("register-model", "m", *arguments, "--preprocessing", "{mean: 0}")
    assert run(monkeypatch, *bad) == Exit.USAGE


@pytest.mark.parametrize(("option", "sent"), [((), None), (("--duplicates",), "byte_equal")])
def test_equal_files_are_forgotten_too_where_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, ...],
    sent: str | None,
) -> None:
    def forget(_output: Output, order: dict[str, Any], *_: object, **__: object) -> dict[str, Any]:
        return order

    monkeypatch.setattr(calls, "forget", forget)
    arguments = ("forget", NO_REQUEST, "--sample", "s0", *option)
    order = run_json(monkeypatch, capsys, *arguments)
    assert order["include_duplicates"] == sent


def test_keys_need_a_current_schema(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "keys", "list") == Exit.FAILED
    assert "expunge migrate" in capsys.readouterr().err


def test_keys_are_made_listed_and_revoked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json(monkeypatch, capsys, "migrate")
    scopes = ("--scope", "requests:read", "--days", "7")
    made = run_json(monkeypatch, capsys, "keys", "create", "auditor", *scopes)
    assert made["key"].startswith("ex_live_")
    assert made["scopes"] == ["requests:read"]
    listed = run_json(monkeypatch, capsys, "keys", "list")
    assert [entry["name"] for entry in listed] == ["auditor"]
    assert "key" not in listed[0]
    revoked = run_json(monkeypatch, capsys, "keys", "revoke", made["id"])
    assert revoked["revoked_at"] is not None


def test_a_key_of_a_role_is_made_and_rotated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json(monkeypatch, capsys, "migrate")
    made = run_json(monkeypatch, capsys, "keys", "create", "audit 2026", "--role", "auditor")
    assert "reports:read" in made["scopes"]
    assert not [scope for scope in made["scopes"] if not scope.endswith(":read")]
    rotated = run_json(monkeypatch, capsys, "keys", "rotate", made["id"], "--hours", "2")
    assert rotated["key"] != made["key"]
    assert rotated["prefix"] == made["prefix"]
    assert rotated["previous_until"] > rotated["rotated_at"]


def test_an_unknown_key_or_scope_is_a_problem_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json(monkeypatch, capsys, "migrate")
    assert run(monkeypatch, "keys", "revoke", NO_REQUEST) == Exit.FAILED
    assert run(monkeypatch, "keys", "create", "x", "--scope", "everything") == Exit.FAILED
    assert "everything" in capsys.readouterr().err
    assert run(monkeypatch, "keys", "create", "x", "--role", "root") == Exit.FAILED
    assert "auditor" in capsys.readouterr().err


def test_the_first_key_is_made_once_and_kept_for_its_owner_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database.from_settings(get_settings())
    database.migrate()
    path = ensure_admin_key(database, get_settings(), Output())
    token = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_admin_key(database, get_settings(), Output()).read_text().strip() == token
    database.close()
    assert capsys.readouterr().out.count(token) == 1
    assert find_key(None) == token
    assert find_key("given") == "given"
    assert home in path.parents


def test_no_key_anywhere_is_an_error() -> None:
    with pytest.raises(CommandFailed):
        find_key(None)


def test_verify_has_the_verifiers_own_exit_codes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, "verify", str(tmp_path / "nothing"), "--jwks", "nothing") == 2
