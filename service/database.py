"""Engine, sessions, the database's clock and migrations, alike on SQLite and PostgreSQL."""

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    any_,
    create_engine,
    event,
    func,
    literal,
    make_url,
    select,
)
from sqlalchemy.orm import Session

from service.commitment import canonical_json
from service.config import Settings

BUSY_TIMEOUT_MS = 30_000
_CLOCK = func.clock_timestamp()
_SQLITE_CLOCK = func.strftime("%Y-%m-%d %H:%M:%f", "now")


@dataclass(frozen=True)
class Limits:
    """What the ledger must know of the settings; travels in `Session.info`."""

    reference_seeds_per_job: int = 5
    max_failures: int = 3
    reference_grace_s: float = 3600
    approval_policies: Collection[str] = ()
    public_holidays: Collection[date] = ()
    back_off_s: float = 5
    quotas: Mapping[str, int] = field(default_factory=dict)
    orphan_age_s: float = 3600
    keep_superseded_days: float = 30
    keep_samples_days: float = 90
    approval_yields_days: float = 5


class Database:
    """One engine; `write()` and `read()` give sessions that live for one transaction."""

    def __init__(self, url: str, limits: Limits | None = None) -> None:
        self.url = make_url(url)
        if self.url.drivername in ("postgresql", "postgres"):
            self.url = self.url.set(drivername="postgresql+psycopg")
        self.limits = limits or Limits()
        self.engine = _make_engine(self)
        self._writer = self.engine.execution_options(expunge_write=True)
        self._reader = self.engine.execution_options(
            **{"expunge_read" if self.is_sqlite else "postgresql_readonly": True}
        )
        self._looker = self._reader
        if not self.is_sqlite:
            self._looker = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def from_settings(cls, settings: Settings) -> "Database":
        """Open the database that the settings name, with their limits."""
        named = {field.name: getattr(settings, field.name) for field in fields(Limits)}
        return cls(settings.database_url, Limits(**named))

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session whose changes are committed together, or rolled back on an error.

        SQLite takes its one write lock at once (`BEGIN IMMEDIATE`), so no transaction has to be
        repeated for having read too early.
        """
        with self._session(self._writer, writable=True) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that cannot change anything; rows stay usable after it is closed."""
        with self._session(self._reader, writable=False) as session:
            yield session
            session.expunge_all()  # whatever was changed is not written
            session.commit()  # at a rollback psycopg forgets what the connection has prepared

    @contextmanager
    def look(self) -> Iterator[Session]:
        """Yield a session for look-ups: PostgreSQL gets no transaction around its statements."""
        with self._session(self._looker, writable=False) as session:
            yield session

    def now(self, session: Session) -> datetime:
        """Return the database's clock, in UTC."""
        return now(session)

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to `revision`; safe to call from several processes at once."""
        self._ensure_folder()
        with self.engine.connect() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

    def is_current(self) -> bool:
        """Say whether the schema is the newest one this code knows."""
        self._ensure_folder()
        with self.engine.connect() as connection:
            present = MigrationContext.configure(connection).get_current_heads()
        return set(present) == set(ScriptDirectory.from_config(alembic_config()).get_heads())

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    def _session(self, engine: Engine, *, writable: bool) -> Session:
        return Session(
            engine, expire_on_commit=False, info={"writable": writable, "limits": self.limits}
        )

    def _ensure_folder(self) -> None:
        """Make the folder of a SQLite file, which SQLite itself does not."""
        if self.is_sqlite and self.url.database not in (None, "", ":memory:"):
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)


def now(session: Session) -> datetime:
    """Return the database's clock, in UTC: leases must not depend on a worker's clock.

    It is asked once a transaction; later in it the time that has passed is added, by a clock that
    nobody sets.
    """
    moment, at = _told(session) or set_clock(
        session, session.execute(select(clock(session))).scalar_one()
    )
    told: datetime = moment + timedelta(seconds=time.monotonic() - at)
    if session.get_bind().dialect.name == "sqlite":
        # its clock counts milliseconds: the next transaction must not be told an earlier time
        told = told.replace(microsecond=told.microsecond // 1000 * 1000)
    return told


def keep_alive(session: Session, row: object) -> None:
    """Hold a row for as long as the session lives.

    The session refers to rows weakly: one that nobody holds is read again when it is wanted again.
    """
    session.info.setdefault("alive", set()).add(row)


def clock(session: Session) -> ColumnElement[Any]:
    """Return the database's clock as a column, for asking it along with a look-up."""
    return _SQLITE_CLOCK if session.get_bind().dialect.name == "sqlite" else _CLOCK


def set_clock(session: Session, told: datetime | str) -> tuple[datetime, float]:
    """Let `now` go on from what the database's clock has just told.

    A transaction that has asked it already keeps to what it was told then.
    """
    if known := _told(session):
        return known
    read = datetime.fromisoformat(told).replace(tzinfo=UTC) if isinstance(told, str) else told
    moment, at = read.astimezone(UTC), time.monotonic()
    session.info["clock"] = (session.get_transaction(), moment, at)
    return moment, at


def _told(session: Session) -> tuple[datetime, float] | None:
    """Return what the database's clock told the present transaction, and when."""
    transaction = session.get_transaction()
    asked, moment, at = session.info.get("clock", (None, None, 0.0))
    return None if transaction is None or asked is not transaction else (moment, at)


def among(session: Session, column: Any, values: Iterable[Any]) -> ColumnElement[bool]:  # noqa: ANN401 - a column
    """Return the condition that a column has one of many values, sent as one parameter.

    An IN list has a parameter for each value: with thousands of them that costs more than the
    look-up itself, and SQLite takes 32,766.
    """
    if session.get_bind().dialect.name == "postgresql":
        return cast(
            "ColumnElement[bool]", column == any_(literal(list(values), ARRAY(column.type)))
        )
    each = func.json_each(json.dumps(list(values))).table_valued("value")
    return cast("ColumnElement[bool]", column.in_(select(each.c.value)))


def limits(session: Session) -> Limits:
    """Return the limits that the session's database was opened with."""
    found: Limits = session.info.get("limits") or Limits()
    return found


def alembic_config() -> Config:
    """Return Alembic's configuration, also where there is no pyproject.toml to read it from."""
    spec = find_spec("migrations")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package `migrations` is not installed beside `service`")
    config = Config()
    config.set_main_option("script_location", str(Path(spec.origin).parent).replace("%", "%%"))
    return config


def _make_engine(database: Database) -> Engine:
    def dump(value: Any) -> str:  # noqa: ANN401 - any JSON value
        return canonical_json(value).decode()

    if not database.is_sqlite:
        return create_engine(database.url, json_serializer=dump, pool_pre_ping=True)
    engine = create_engine(
        database.url, json_serializer=dump, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    """Set what SQLite forgets between connections; take transactions out of the driver's hands."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


def _begin_sqlite(connection: Connection) -> None:
    """Start a writing transaction with the write lock; keep a reading one from writing."""
    options = connection.get_execution_options()
    connection.exec_driver_sql(f"PRAGMA query_only={int(options.get('expunge_read', False))}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("expunge_write") else "BEGIN")
