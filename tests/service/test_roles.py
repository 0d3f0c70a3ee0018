"""The role that Expunge connects as on PostgreSQL: everything it does, and never the audit log."""

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from service.cli.db import grant_role
from service.cli.operating import migrate
from service.cli.output import CommandFailed
from service.database import Database
from service.keys import ensure_tenant
from service.roles import RoleError, can_change_log, grant
from tests.service.ledger.world import World

PASSWORD = "It's 100% \\ secret"


@pytest.fixture
def role(postgres_database: Database) -> Iterator[str]:
    """Yield a name that needs quoting, for a role that is removed afterwards."""
    name = f'app "{secrets.token_hex(4)}"'
    yield name
    quoted = name.replace('"', '""')
    with postgres_database.engine.begin() as connection:
        if connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :n"), {"n": name}).all():
            connection.execute(text(f'DROP OWNED BY "{quoted}"'))
            connection.execute(text(f'DROP ROLE "{quoted}"'))


def _as(database: Database, role: str, password: str = PASSWORD) -> Database:
    url = database.url.set(username=role, password=password)
    return Database(url.render_as_string(hide_password=False), database.limits)


@pytest.fixture
def application(postgres_database: Database, role: str) -> Iterator[Database]:
    """Yield the database as the role sees it; a tenant is there."""
    with postgres_database.write() as session:
        ensure_tenant(session)
    grant(postgres_database, role, PASSWORD)
    with closing(_as(postgres_database, role)) as database:
        yield database


def test_the_role_can_do_the_whole_work_of_the_ledger(application: Database) -> None:
    assert application.is_current()
    world = World(application)
    world.register()
    request_id = world.request("s0")
    world.work()
    assert world.get(request_id).status == "completed"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor = 'b'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events CASCADE",
        "UPDATE audit_checkpoints SET seq = 1",
        "DELETE FROM audit_checkpoints",
        "TRUNCATE audit_checkpoints",
        "DROP TRIGGER audit_events_append_only ON audit_events",
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        "ALTER TABLE audit_events ADD COLUMN note TEXT",
        "DROP TABLE audit_events CASCADE",
        "ALTER FUNCTION refuse_audit_change() RENAME TO harmless",
        "CREATE RULE quiet AS ON INSERT TO audit_events DO INSTEAD NOTHING",
        "SET session_replication_role = replica",
        "UPDATE alembic_version SET version_num = 'x'",
        "CREATE TABLE own (n INT)",
    ],
)
def test_the_role_is_refused_by_its_rights_not_only_by_triggers(
    application: Database, statement: str
) -> None:
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        application.write() as session,
    ):
        session.execute(text(statement))


def test_the_tables_owner_is_stopped_by_triggers_alone(
    postgres_database: Database, application: Database
) -> None:
    with pytest.raises(DBAPIError, match="append-only"), postgres_database.write() as session:
        session.execute(text("DELETE FROM audit_events"))
    assert can_change_log(postgres_database)
    assert not can_change_log(application)


def test_granting_again_changes_the_password_and_takes_back_what_was_added(
    postgres_database: Database, application: Database, role: str
) -> None:
    quoted = role.replace('"', '""')
    with postgres_database.engine.begin() as connection:
        connection.execute(text(f'GRANT ALL ON audit_events TO "{quoted}"'))
    assert can_change_log(application)
    grant(postgres_database, role)
    assert not can_change_log(application)
    grant(postgres_database, role, "another")
    with closing(_as(postgres_database, role)) as old, pytest.raises(OperationalError):
        old.is_current()
    with closing(_as(postgres_database, role, "another")) as new:
        assert new.is_current()


def test_no_role_is_taken_that_nothing_could_stop(
    postgres_database: Database, sqlite_database: Database
) -> None:
    with pytest.raises(RoleError, match="superuser"):
        grant(postgres_database, str(postgres_database.url.username))
    with pytest.raises(RoleError, match="SQLite"):
        grant(sqlite_database, "app")


def test_the_command_reads_the_password_from_a_file(
    postgres_database: Database, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_database.url.render_as_string(hide_password=False)
    monkeypatch.setenv("EXPUNGE_DATABASE_URL", url)
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path))
    file = tmp_path / "password"
    with pytest.raises(CommandFailed, match="cannot be read"):
        grant_role(role, file)
    file.write_text("\n")
    with pytest.raises(CommandFailed, match="no password"):
        grant_role(role, file)
    file.write_text("from-a-file\n")
    migrate()
    grant_role(role, file)
    with closing(_as(postgres_database, role, "from-a-file")) as database:
        assert database.is_current()
    with pytest.raises(CommandFailed, match="superuser"):
        grant_role(str(make_url(url).username), None)
