"""What a request names is looked up before its tenant's turn, and nothing is held meanwhile."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from service.database import Database
from service.ledger.log import take_turn
from tests.service.http.test_requests import wish
from tests.service.ledger.world import World
from tests.statements import statements

URL = "/v1/deletion-requests"
TURN = "pg_advisory_xact_lock"
_WAITING = text(
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_HELD = text("SELECT relation::regclass::text FROM pg_locks WHERE pid = :pid AND relation > 0")


@pytest.fixture
def database(postgres_database: Database) -> Database:
    """Return the one kind of database that has turns to wait for."""
    return postgres_database


def engine(caller: TestClient) -> Engine:
    """Return how the service reaches its database."""
    found: Engine = caller.app.state.parts.database.engine  # type: ignore[attr-defined] # a FastAPI
    return found


def split(asked: list[str]) -> tuple[int, int]:
    """Count the look-ups of samples before the turn and in it."""
    turn = next(place for place, statement in enumerate(asked) if TURN in statement)
    found = [place for place, statement in enumerate(asked) if "FROM samples" in statement]
    return sum(place < turn for place in found), sum(place > turn for place in found)


def test_samples_are_looked_up_before_the_turn(caller: TestClient, company: World) -> None:
    with statements(engine(caller)) as asked:
        assert caller.post(URL, json=wish(company, "s0", "s1")).status_code == 202
    assert split(asked) == (1, 0)


@pytest.mark.parametrize(
    "more", [{"labels": [1]}, {"subject_ids": ["p1"]}, {"include_duplicates": "byte_equal"}]
)
def test_what_may_change_meanwhile_is_looked_up_in_it(
    caller: TestClient, company: World, more: dict[str, Any]
) -> None:
    with statements(engine(caller)) as asked:
        assert caller.post(URL, json={**wish(company, "s0"), **more}).status_code == 202
    before, within = split(asked)
    assert before == 0
    assert within > 0


def test_who_waits_for_a_turn_holds_no_table(caller: TestClient, company: World) -> None:
    with ThreadPoolExecutor(1) as pool, company.database.write() as first:
        take_turn(first, company.caller.tenant_id)
        asked = pool.submit(caller.post, URL, json=wish(company, "s0"))
        pid = waiting(company)
        with company.database.read() as session:
            held = session.scalars(_HELD, {"pid": pid}).all()
        first.commit()
    assert asked.result().status_code == 202
    assert held == []


def waiting(world: World) -> int:
    """Return the process of the database that waits for a turn."""
    for _ in range(600):
        with world.database.read() as session:
            pid = _pid(session)
        if pid is not None:
            return pid
        time.sleep(0.05)
    raise AssertionError("nobody waits")


def _pid(session: Session) -> int | None:
    found: int | None = session.scalars(_WAITING).first()
    return found
