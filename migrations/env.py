"""Run migrations on the connection that `Database.migrate` hands over, or on the settings' URL."""

from alembic import context
from sqlalchemy import Connection, text

from service.config import get_settings
from service.database import Database
from service.tables import Base

LOCK_KEY = 0x45585055  # "EXPU": one migration at a time


def migrate(connection: Connection) -> None:
    """Migrate in one transaction; on PostgreSQL wait our turn, but never long for a table."""
    postgres = connection.dialect.name == "postgresql"
    if postgres:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        connection.execute(text("SET lock_timeout = '10s'"))
        connection.execute(text("SET statement_timeout = '15min'"))
        connection.commit()
    try:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_server_default=True,
            render_as_batch=not postgres,
        )
        with context.begin_transaction():
            context.run_migrations()
        if connection.in_transaction():
            connection.commit()
    finally:
        connection.rollback()
        if postgres:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
            connection.execute(text("RESET lock_timeout"))
            connection.execute(text("RESET statement_timeout"))
            connection.commit()


if context.is_offline_mode():
    raise SystemExit("Migrations need the database: tables are checked before they are changed.")

given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with Database(get_settings().database_url).engine.connect() as opened:
        migrate(opened)
