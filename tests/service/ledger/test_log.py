"""The audit log: append-only, and every change to what is written shows."""

import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from service import ledger
from service.database import Database
from service.keys import ensure_tenant
from service.ledger import record_event, verify_chain


def whole(session: Session, tenant_id: uuid.UUID) -> int:
    """Return the length of a chain in which nothing is damaged."""
    checked = verify_chain(session, tenant_id)
    assert checked.findings == ()
    return checked.length


@pytest.fixture
def tenant_id(database: Database) -> uuid.UUID:
    """Return a tenant with a chain of five links."""
    with database.write() as session:
        tenant = ensure_tenant(session).id
        for i in range(4):
            record_event(session, tenant, "a", "thing.done", f"things/{i}", {"n": i, "x": 0.1})
    return tenant


def test_an_untouched_chain_is_whole(database: Database, tenant_id: uuid.UUID) -> None:
    with database.read() as session:
        assert whole(session, tenant_id) == 5


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_events SET actor = 'b'", "DELETE FROM audit_events"]
)
def test_the_database_itself_refuses_to_change_the_log(
    database: Database, tenant_id: uuid.UUID, statement: str
) -> None:
    with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
        session.execute(text(statement))


def test_postgresql_refuses_to_empty_the_log(postgres_database: Database) -> None:
    with pytest.raises(DBAPIError, match="append-only"), postgres_database.write() as session:
        session.execute(text("TRUNCATE audit_events"))


def test_each_tenant_has_a_chain_of_its_own(database: Database, tenant_id: uuid.UUID) -> None:
    with database.write() as session:
        other = ensure_tenant(session, "other").id
        record_event(session, tenant_id, "a", "thing.done", "things/9", {})
        record_event(session, other, "a", "thing.done", "things/9", {})
    with database.read() as session:
        assert whole(session, tenant_id) == 6
        assert whole(session, other) == 2


def test_a_rolled_back_savepoint_leaves_no_gap(database: Database, tenant_id: uuid.UUID) -> None:
    with database.write() as session:
        record_event(session, tenant_id, "a", "thing.kept", "things/1", {})
        savepoint = session.begin_nested()
        record_event(session, tenant_id, "a", "thing.lost", "things/2", {})
        savepoint.rollback()
        record_event(session, tenant_id, "a", "thing.kept", "things/3", {})
    with database.read() as session:
        assert whole(session, tenant_id) == 7


def test_the_log_is_read_in_segments_that_can_be_checked_alone(
    database: Database, tenant_id: uuid.UUID
) -> None:
    caller = ledger.Caller(tenant_id, "x")
    with database.read() as session:
        first = ledger.list_events(session, caller, limit=3)
        second = ledger.list_events(session, caller, cursor=first.next_cursor, limit=3)
        end = ledger.log_position(session, tenant_id)
    events = first.items + second.items
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert second.next_cursor is None
    assert all(ledger.event_hash(event) == event.hash for event in events)
    assert (end.seq, end.hash) == (5, events[-1].hash)
