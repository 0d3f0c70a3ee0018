"""Leases and deadlines follow the database's clock: stepping a machine's clock changes nothing."""

import ast
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.database import Database, now
from tests.statements import statements

ROOT = Path(__file__).parents[3]
MACHINE_CLOCKS = {
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("time.time", "time.time_ns", "dt.now"),
}
CLOCKED = [
    *sorted((ROOT / "service" / "ledger").glob("*.py")),
    *sorted((ROOT / "worker").glob("*.py")),
]


def machine_clocks(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in MACHINE_CLOCKS:
                yield name


@pytest.mark.parametrize("path", CLOCKED, ids=lambda path: path.stem)
def test_ledger_and_workers_never_ask_the_machines_clock(path: Path) -> None:
    assert list(machine_clocks(path.read_text())) == []


def test_such_a_question_would_be_found() -> None:
    assert list(machine_clocks("import time\nx = time.time()")) == ["time.time"]


def questions(asked: list[str]) -> list[str]:
    """Return the statements that ask the database's clock."""
    return [each for each in asked if "clock_timestamp" in each or "strftime" in each]


def test_the_clock_is_asked_once_a_transaction_and_moves_on(database: Database) -> None:
    with statements(database.engine) as asked:
        with database.write() as session:
            first = now(session)
            time.sleep(0.02)
            later = now(session)
        assert len(questions(asked)) == 1
        with database.write() as session:
            next_one = now(session)
        assert len(questions(asked)) == 2
    assert timedelta(milliseconds=15) < later - first < timedelta(seconds=60)
    assert next_one >= first


def test_stepping_the_clock_of_the_machine_moves_no_time_of_the_ledger(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.write() as session:
        first = now(session)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 86_400)
        assert now(session) - first < timedelta(minutes=1)


def test_no_transaction_is_told_an_earlier_time_than_the_one_before(database: Database) -> None:
    told = []
    for _ in range(200):
        with database.write() as session:
            now(session)
            time.sleep(0.0003)
            told.append(now(session))
        with database.read() as session:
            told.append(now(session))
    assert told == sorted(told)
