"""A PostgreSQL role that can do all that Expunge does, and cannot change the audit log.

The owner of the tables could drop their triggers. So API, worker and sweep connect as a role that
owns nothing; the owner's password is needed by `expunge migrate` alone. What is granted here covers
the tables of now: grant again after each migration.
"""

from typing import Any, cast

from psycopg import Connection, sql
from sqlalchemy import text

from service.database import Database

APPEND_ONLY = ("audit_events", "audit_checkpoints")
"""Tables in which the role can neither change nor remove what was written."""
READ_ONLY = ("alembic_version",)


class RoleError(Exception):
    """Raise when a role cannot be kept from changing the log, or there are no roles here."""


def grant(database: Database, role: str, password: str | None = None) -> None:
    """Give a role what Expunge needs and no more; make it when it is missing.

    Needs a connection as the owner of the tables. All in one transaction.

    Args:
        database: The migrated database.
        role: Its name.
        password: Set for it; only its SCRAM verifier leaves this process. None: it keeps its own.

    Raises:
        RoleError: SQLite; or the role is a superuser, owns tables, or is the one that connects.
    """
    if database.is_sqlite:
        raise RoleError("SQLite has no roles; its triggers alone guard the audit log.")
    with database.engine.begin() as opened:
        connection = cast("Connection[Any]", opened.connection.driver_connection)
        _ensure(connection, role, password)
        _refuse_mighty(connection, role)
        for statement in statements(connection, role):
            connection.execute(statement)


def statements(connection: "Connection[Any]", role: str) -> list[sql.Composed]:
    """Return the SQL that gives the role its rights; docs/operations.md shows it."""
    who = sql.Identifier(role)
    name = sql.Identifier(connection.info.dbname)
    tables = {table: sql.Identifier(table) for table in (*APPEND_ONLY, *READ_ONLY)}
    return [
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, who),
        sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC, {}").format(who),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(who),
        sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(who),
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(
            who
        ),
        sql.SQL("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}").format(who),
        *(
            sql.SQL("REVOKE UPDATE, DELETE ON {} FROM {}").format(tables[table], who)
            for table in APPEND_ONLY
        ),
        *(
            sql.SQL("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}").format(tables[table], who)
            for table in READ_ONLY
        ),
    ]


def can_change_log(database: Database) -> bool:
    """Say whether the role that connects could change the audit log, or drop what guards it."""
    if database.is_sqlite:
        return True
    query = text(
        "SELECT has_table_privilege('audit_events', 'UPDATE, DELETE, TRUNCATE, TRIGGER')"
        " OR pg_has_role((SELECT relowner FROM pg_class WHERE oid = 'audit_events'::regclass),"
        " 'USAGE')"
    )
    with database.read() as session:
        return bool(session.execute(query).scalar_one())


def _ensure(connection: "Connection[Any]", role: str, password: str | None) -> None:
    who = sql.Identifier(role)
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    if known is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(who))
    if password is not None:
        verifier = connection.pgconn.encrypt_password(
            password.encode(), role.encode(), b"scram-sha-256"
        )
        setting = sql.SQL("ALTER ROLE {} PASSWORD {}").format(who, sql.Literal(verifier.decode()))
        connection.execute(setting)


def _refuse_mighty(connection: "Connection[Any]", role: str) -> None:
    """Refuse a role whose rights nobody can take away."""
    found = connection.execute(
        "SELECT r.rolsuper, r.rolname = current_user, pg_has_role(r.oid, c.relowner, 'USAGE')"
        " FROM pg_roles r, pg_class c WHERE r.rolname = %s AND c.oid = 'audit_events'::regclass",
        [role],
    ).fetchone()
    if found is None or any(found):
        raise RoleError(
            f"The role {role} is a superuser or owns the tables, so that nothing keeps it from"
            " changing the audit log. Name another one."
        )
