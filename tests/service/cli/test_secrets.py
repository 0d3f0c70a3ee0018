"""`expunge secrets make | rotate`: what is printed, and what is refused in words."""

import json
import sys
from pathlib import Path

import pytest

from service.cli import main
from service.cli.output import Exit


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["expunge", "secrets", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_secrets_are_made_and_rotated_and_none_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _run(monkeypatch, "make", str(tmp_path), "--json") == Exit.OK
    printed = capsys.readouterr().out
    assert len(json.loads(printed)["made"]) == 5
    assert _run(monkeypatch, "rotate", str(tmp_path), "--json") == Exit.OK
    rotated = capsys.readouterr().out
    assert json.loads(rotated)["keyid"].startswith("SHA256:")
    password = (tmp_path / "postgres_password").read_text()
    key = (tmp_path / "signing.pem").read_text().splitlines()[1]
    assert all(secret not in printed + rotated for secret in (password, key))


def test_a_second_run_says_that_all_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _run(monkeypatch, "make", str(tmp_path))
    assert _run(monkeypatch, "make", str(tmp_path)) == Exit.OK
    assert "All secrets are there" in capsys.readouterr().out


@pytest.mark.parametrize("owner", ["expunge", "10001", "10001:", "1:-1"])
def test_an_owner_that_is_no_pair_of_numbers_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: str
) -> None:
    assert _run(monkeypatch, "make", str(tmp_path), "--owner", owner) == Exit.USAGE
    assert list(tmp_path.iterdir()) == []


def test_without_a_key_there_is_nothing_to_rotate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _run(monkeypatch, "rotate", str(tmp_path)) == Exit.FAILED
    assert "There is no signing key" in capsys.readouterr().err
