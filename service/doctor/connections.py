"""Checks of what the service connects to: database, broker and storage."""

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from service import broker
from service.config import Settings
from service.database import Database
from service.doctor.finding import Finding, fail, first_line, masked, ok, warn
from service.roles import can_change_log
from service.storage import Storage

SKEW_WARN_S, SKEW_FAIL_S = 2.0, 60.0
CONNECT_TIMEOUT_S = 5
FILESYSTEM_SCHEME = "filesystem"
_VERSION = {"sqlite": "SELECT sqlite_version()", "postgresql": "SHOW server_version"}


def check_database(settings: Settings) -> Iterator[Finding]:
    """Look whether the database answers, what it is, whether its schema and clock are right."""
    try:
        url = make_url(settings.database_url)
        words = url.set(query={}).render_as_string(hide_password=True)
        if _unborn(url):
            yield warn(
                "database", f"{words} does not exist yet", "Run: expunge up (or: expunge migrate)"
            )
            return
        with closing(Database(_hurried(url))) as database:
            yield from _look_at(database, words)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        action = "Set EXPUNGE_DATABASE_URL to sqlite:///… or postgresql://user:password@host/name."
        yield fail("database", f"its URL cannot be used: {first_line(error)}", action)


def _look_at(database: Database, words: str) -> Iterator[Finding]:
    backend = database.url.get_backend_name()
    if backend not in _VERSION:
        yield fail("database", f"{backend} is not supported", "Use PostgreSQL or SQLite.")
        return
    try:
        with database.read() as session:
            version = session.scalar(text(_VERSION[backend]))
            before = time.time()
            there = database.now(session)
            here = (before + time.time()) / 2
        current = database.is_current()
        mighty = current and not database.is_sqlite and can_change_log(database)
    except (DBAPIError, OSError) as error:
        reason = first_line(error.orig or error) if isinstance(error, DBAPIError) else str(error)
        action = "Start it, or put EXPUNGE_DATABASE_URL right."
        yield fail("database", f"{words} does not answer: {reason}", action)
        return
    yield ok("database", f"{backend} {version} at {words}")
    if current:
        yield ok("schema", "current")
    else:
        yield fail(
            "schema", "not the one that this version of Expunge needs", "Run: expunge migrate"
        )
    if mighty:
        action = "Connect as another role; make it with: expunge db grant ROLE --password-file FILE"
        yield warn("log rights", "this role could change the audit log", action)
    yield judge_skew((datetime.fromtimestamp(here, UTC) - there).total_seconds())


def judge_skew(seconds: float) -> Finding:
    """Judge by how much this machine's clock is ahead of the database's."""
    words = f"{seconds:+.3f} s from the database's"
    action = "Set both clocks by NTP: reports and signing keys carry this machine's time."
    if abs(seconds) > SKEW_FAIL_S:
        return fail("clock", words, action)
    if abs(seconds) > SKEW_WARN_S:
        return warn("clock", words, action)
    return ok("clock", words)


def _unborn(url: URL) -> bool:
    """Say whether this is a SQLite file that nobody has made yet; looking must not make it."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return False
    return not Path(str(url.database)).exists()


def _hurried(url: URL) -> str:
    """Return the URL with a limit on the time to connect, where its driver knows one."""
    if url.get_backend_name() in ("postgresql", "postgres") and "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(CONNECT_TIMEOUT_S)})
    return url.render_as_string(hide_password=False)


def check_broker(settings: Settings) -> Iterator[Finding]:
    """Connect to the broker, or write into its folder."""
    words = masked(settings.broker_url)
    known = "filesystem://, redis://…, rediss://…, sentinel://… or amqp://…"
    try:
        app = broker.celery_app(settings)
        if settings.broker_url.partition(":")[0] == FILESYSTEM_SCHEME:
            folder = settings.home / "broker"
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"expunge doctor")
            yield ok("broker", f"{words} in {folder}")
        elif broker.broker_ready(app):
            yield ok("broker", f"{words} answers")
        else:
            action = "Start it, or put EXPUNGE_BROKER_URL right."
            yield fail("broker", f"{words} does not answer", action)
    except OSError as error:
        action = "Make the folder writable for this user, or set EXPUNGE_HOME to another one."
        yield fail("broker", f"{words}: {first_line(error)}", action)
    except (KeyError, ImportError, ValueError) as error:
        reason = f"{words} is no broker that can be used here ({first_line(error)})"
        yield fail("broker", reason, f"Set EXPUNGE_BROKER_URL to {known}.")


def check_storage(settings: Settings) -> Iterator[Finding]:
    """Write, read and delete an artifact of random bytes."""
    words, content = masked(settings.storage_url), secrets.token_bytes(64)
    try:
        storage = Storage(settings.storage_url)
        key = storage.put_bytes(content, "application/octet-stream")
        same = storage.read_bytes(key) == content
        storage.delete(key)
        left = storage.exists(key)
    except Exception as error:  # noqa: BLE001 - every backend of fsspec has errors of its own
        reason = f"{words} cannot be used: {type(error).__name__}: {first_line(error)}"
        action = "Make it writable for this user, install its fsspec package, or put"
        yield fail("storage", reason, f"{action} EXPUNGE_STORAGE_URL right.")
        return
    if not same or left:
        reason = "another content came back" if not same else "what was deleted is still there"
        action = "Use a storage that reads what it wrote (no cache or write-once rule before it)."
        yield fail("storage", f"{words}: {reason}", action)
    else:
        yield ok("storage", f"{words}: written, read and deleted")
