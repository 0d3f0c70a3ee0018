"""Databases for the tests: migrated once, copied for each test, on SQLite and on PostgreSQL."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from service.database import Database
from tests.servers import postgres_url, redis_url

__all__ = ["postgres_url", "redis_url"]

# pytest ended by SIGTERM would leave the servers running
signal.signal(signal.SIGTERM, signal.default_int_handler)

MakeDatabase = Callable[[], Database]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    with closing(Database(f"sqlite:///{path}")) as database:
        database.migrate()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """Return the name of a migrated PostgreSQL database to copy."""
    name = f"template_{uuid4().hex}"
    _administer(postgres_url, f"CREATE DATABASE {name}")
    with closing(Database(_sibling(postgres_url, name))) as database:
        database.migrate()
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Yield an empty, migrated database of each kind."""
    with _open(request, str(request.param), tmp_path) as database:
        yield database


@pytest.fixture
def sqlite_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Yield an empty, migrated SQLite database, for tests that no database could change."""
    with _open(request, "sqlite", tmp_path) as database:
        yield database


@pytest.fixture
def postgres_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Yield an empty, migrated PostgreSQL database, for what only it can do."""
    with _open(request, "postgresql", tmp_path) as database:
        yield database


@contextmanager
def _open(request: pytest.FixtureRequest, kind: str, folder: Path) -> Iterator[Database]:
    if kind == "sqlite":
        path = folder / "ledger.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        with closing(Database(f"sqlite:///{path}")) as database:
            yield database
        return
    server: str = request.getfixturevalue("postgres_url")
    template, name = request.getfixturevalue("postgres_template"), f"test_{uuid4().hex}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    with closing(Database(_sibling(server, name))) as database:
        yield database
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def _sibling(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return f"{url.rpartition('/')[0]}/{name}"


def _administer(url: str, statement: str) -> None:
    """Run a statement that cannot be in a transaction."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
