"""`expunge log`: check, sign, save, on a real database and on files."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.cli.output import Exit
from service.config import get_settings
from service.database import Database
from service.keys import ensure_tenant
from service.ledger import record_event
from service.signing import load_signer, published_keys_file
from tests.service.cli.test_commands import run

LENGTH = 6


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of an installation with two tenants."""
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path))
    with closing(Database.from_settings(get_settings())) as database:
        database.migrate()
        with database.write() as session:
            ensure_tenant(session, "other")
            tenant = ensure_tenant(session).id
            for i in range(LENGTH - 1):
                record_event(session, tenant, "a", "thing.done", f"things/{i}", {"n": i})
    return tmp_path


def _tamper(*statements: str) -> None:
    with closing(Database.from_settings(get_settings())) as database, database.write() as session:
        for verb in ("update", "delete"):
            session.execute(text(f"DROP TRIGGER IF EXISTS audit_events_no_{verb}"))
        for statement in statements:
            session.execute(text(statement))


def _verify(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(monkeypatch, "log", "verify", *arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def test_sound_logs_of_all_tenants_are_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = _verify(monkeypatch, capsys)
    assert code == Exit.OK
    assert {name: (log["ok"], log["length"]) for name, log in found.items()} == {
        "default": (True, LENGTH),
        "other": (True, 1),
    }
    assert found["default"]["vouched"] is None


def test_every_damage_is_printed_with_its_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _tamper(
        "UPDATE audit_events SET actor = 'b' WHERE seq IN (2, 5)",
        "DELETE FROM audit_events WHERE seq = 4",
    )
    assert run(monkeypatch, "log", "verify", "--tenant", "default") == Exit.FAILED
    shown = capsys.readouterr().out
    assert [line.split(":")[0].strip() for line in shown.splitlines()[1:4]] == [
        "2 changed",
        "4 removed",
        "5 changed",
    ]


def test_a_checkpoint_kept_elsewhere_finds_a_cut_off_end_in_database_and_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    kept, saved = str(home / "checkpoint.json"), str(home / "log.json")
    assert run(monkeypatch, "log", "checkpoint", "--output", kept) == Exit.OK
    assert run(monkeypatch, "log", "export", saved) == Exit.OK
    for where in (("--tenant", "default"), ("--file", saved)):
        code, found = _verify(monkeypatch, capsys, *where, "--checkpoint", kept)
        [log] = found.values()
        assert (code, log["vouched"]) == (Exit.OK, LENGTH)
    _tamper("DROP TRIGGER audit_checkpoints_no_delete", "DELETE FROM audit_checkpoints")
    _tamper("DELETE FROM audit_events WHERE seq > 4 AND action = 'thing.done'")
    assert run(monkeypatch, "log", "export", saved) == Exit.OK
    assert run(monkeypatch, "log", "verify") == Exit.OK
    for where in (("--tenant", "default"), ("--file", saved)):
        code, found = _verify(monkeypatch, capsys, *where, "--checkpoint", kept)
        [log] = found.values()
        [damage] = log["findings"]
        assert code == Exit.FAILED
        assert (damage["kind"], damage["seq"], damage["through"]) == ("cut_off", 5, LENGTH)


def test_a_log_is_exported_to_the_standard_output_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "log", "export", "-", "--tenant", "default") == Exit.OK
    assert len(json.loads(capsys.readouterr().out)["items"]) == LENGTH


def test_what_cannot_be_read_or_was_signed_by_somebody_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    kept, other = str(home / "checkpoint.json"), home / "elsewhere" / "signing.pem"
    run(monkeypatch, "log", "checkpoint", "--output", kept)
    load_signer(other, create=True)
    (home / "nonsense").write_text("{")
    for arguments in (
        ("--file", str(home / "missing")),
        ("--file", str(home / "nonsense")),
        ("--file", kept),
        ("--checkpoint", str(home / "nonsense")),
        ("--checkpoint", kept, "--jwks", str(published_keys_file(other))),
        ("--checkpoint", kept, "--tenant", "other"),
        ("--tenant", "nobody"),
    ):
        assert run(monkeypatch, "log", "verify", *arguments) == Exit.USAGE, arguments
        assert capsys.readouterr().err
