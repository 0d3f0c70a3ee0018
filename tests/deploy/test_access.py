"""The check of who can change the audit log sees a role that may do too much."""

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from deploy import access
from deploy.evidence import Lost
from deploy.stack import ComposeStack
from service.database import Database
from service.roles import grant

PASSWORD = "made-up"


class _Here(ComposeStack):
    """An installation of which every container is this machine, connected to one database."""

    def __init__(self, folder: Path, database: Database, role: str | None = None) -> None:
        super().__init__("here", folder, folder, 0, 1)
        url = database.url.set(username=role, password=PASSWORD) if role else database.url
        shown = url.render_as_string(hide_password=False)
        self._environment = os.environ | {"EXPUNGE_DATABASE_URL": shown}

    def execute(self, service: str, *command: str, stdin: bytes = b"") -> bytes:
        """Run the command here."""
        assert service in access.CONNECTED
        assert command[0] == "python"
        return self._run([sys.executable, *command[1:]], stdin)


@pytest.fixture
def role(postgres_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield a role with its rights; it is removed afterwards."""
    owner, name = postgres_database.url.username, f"app_{secrets.token_hex(4)}"
    own = [what for what in access.DAMAGES if not what.startswith("SET ROLE")]
    monkeypatch.setattr(access, "DAMAGES", [*own, f'SET ROLE "{owner}"'])
    monkeypatch.setattr(access, "CONNECTED", ("api",))
    grant(postgres_database, name, PASSWORD)
    yield name
    with postgres_database.engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {name}"))
        connection.execute(text(f"DROP ROLE {name}"))


def test_a_role_with_its_rights_and_no_more_passes(
    postgres_database: Database, role: str, tmp_path: Path
) -> None:
    here = _Here(tmp_path, postgres_database, role)
    assert role in access.check_role(here, role)


def test_one_right_too_many_is_named(
    postgres_database: Database, role: str, tmp_path: Path
) -> None:
    with postgres_database.engine.begin() as connection:
        connection.execute(text(f"GRANT DELETE ON audit_checkpoints TO {role}"))
    here = _Here(tmp_path, postgres_database, role)
    with pytest.raises(Lost, match=r"not denied: \{'DELETE FROM audit_checkpoints': '\w+'\}"):
        access.check_role(here, role)


def test_whoever_connects_as_the_owner_is_named(
    postgres_database: Database, role: str, tmp_path: Path
) -> None:
    with pytest.raises(Lost, match=f"api connects as {postgres_database.url.username}"):
        access.check_role(_Here(tmp_path, postgres_database), role)


def test_the_check_rolls_everything_back(
    postgres_database: Database, role: str, tmp_path: Path
) -> None:
    with pytest.raises(Lost):
        access.check_role(_Here(tmp_path, postgres_database), role)
    assert postgres_database.is_current()
