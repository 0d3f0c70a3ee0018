"""Databases for the tests: migrated once, copied for each test, on SQLite and on PostgreSQL.

One engine of each kind lives for the whole session, for it keeps the statements it has compiled.
"""

import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import create_engine, event, text

from service.database import Database
from tests.servers import postgres_url, redis_url

__all__ = ["postgres_url", "redis_url"]

# how long an example takes says nothing about the code on a busy machine
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# pytest ended by SIGTERM would leave the servers running
signal.signal(signal.SIGTERM, signal.default_int_handler)

Fresh = Callable[[], Database]


@pytest.fixture(scope="session")
def fresh_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    """Yield a function that empties the session's SQLite database and returns it."""
    folder = tmp_path_factory.mktemp("sqlite")
    template, path = folder / "template.db", folder / "ledger.db"
    with closing(Database(f"sqlite:///{template}")) as database:
        database.migrate()

    with closing(Database(f"sqlite:///{path}")) as shared:
        event.listen(shared.engine, "connect", _forgo_durability)

        def fresh() -> Database:
            shared.close()
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            shutil.copy(template, path)
            return shared

        yield fresh


@pytest.fixture(scope="session")
def fresh_postgres(postgres_url: str) -> Iterator[Fresh]:
    """Yield a function that empties the session's PostgreSQL database and returns it."""
    sibling = f"{postgres_url.rpartition('/')[0]}/"
    _administer(postgres_url, "CREATE DATABASE expunge_template")
    with closing(Database(f"{sibling}expunge_template")) as database:
        database.migrate()

    with closing(Database(f"{sibling}expunge_test")) as shared:

        def fresh() -> Database:
            shared.close()
            _administer(
                postgres_url,
                "DROP DATABASE IF EXISTS expunge_test WITH (FORCE)",
                "CREATE DATABASE expunge_test TEMPLATE expunge_template STRATEGY FILE_COPY",
            )
            return shared

        yield fresh
    names = ("expunge_test", "expunge_template")
    _administer(postgres_url, *(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in names))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Yield an empty, migrated database of each kind."""
    name = "fresh_sqlite" if request.param == "sqlite" else "fresh_postgres"
    with closing(request.getfixturevalue(name)()) as database:
        yield database


@pytest.fixture
def sqlite_database(fresh_sqlite: Fresh) -> Iterator[Database]:
    """Yield an empty, migrated SQLite database, for what no other database would change."""
    with closing(fresh_sqlite()) as database:
        yield database


@pytest.fixture
def postgres_database(fresh_postgres: Fresh) -> Iterator[Database]:
    """Yield an empty, migrated PostgreSQL database, for what only it can do."""
    with closing(fresh_postgres()) as database:
        yield database


def _forgo_durability(connection: sqlite3.Connection, _record: object) -> None:
    """Don't wait for the disk: no test pulls the plug."""
    connection.execute("PRAGMA synchronous=OFF")


def _administer(url: str, *statements: str) -> None:
    """Run statements that cannot be in a transaction."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
