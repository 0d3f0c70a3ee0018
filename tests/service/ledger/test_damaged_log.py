"""What somebody who owns the database does to the audit log is found and named, on both kinds.

Each example is played in a transaction of its own that is rolled back.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from service import ledger
from service.checkpoints import sign_head
from service.database import Database
from service.errors import Conflict
from service.keys import ensure_tenant
from service.signing import Signer, load_signer
from service.tables import AuditEvent
from service.verify import keys_of_jwks
from tests.service.ledger.world import rolled_back

LENGTH = 10
Kinds = dict[str, set[int]]
examples = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
places = st.integers(1, LENGTH)


@pytest.fixture
def tenant_id(database: Database) -> uuid.UUID:
    """Return a tenant whose log has ten entries."""
    with database.write() as session:
        tenant = ensure_tenant(session).id
        for i in range(LENGTH - 1):
            payload = {"n": i, "x": 0.1, "words": "größer"}
            ledger.record_event(session, tenant, "a", "thing.done", f"things/{i}", payload)
    return tenant


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return load_signer(tmp_path / "signing.pem", create=True)


@contextmanager
def _owning(database: Database) -> Iterator[Session]:
    """Yield a session of somebody whom neither triggers nor indexes stop."""
    with rolled_back(database) as session:
        for table in ("audit_events", "audit_checkpoints"):
            if database.is_sqlite:
                for verb in ("update", "delete"):
                    session.execute(text(f"DROP TRIGGER {table}_no_{verb}"))
            else:
                session.execute(text(f"DROP TRIGGER {table}_append_only ON {table}"))
        session.execute(text("DROP INDEX uq_audit_events_tenant_id_prev_hash"))
        yield session
        session.expunge_all()


def _run(session: Session, statement: str, **values: object) -> None:
    session.execute(text(statement), values)


def _shift(session: Session, start: int, by: int) -> None:
    """Renumber the entries from `start` on; two steps, for numbers are unique all the time."""
    _run(session, "UPDATE audit_events SET seq = -seq WHERE seq >= :start", start=start)
    _run(session, "UPDATE audit_events SET seq = :by - seq WHERE seq < 0", by=by)


def _kinds(session: Session, tenant_id: uuid.UUID) -> Kinds:
    found: Kinds = {}
    for finding in ledger.verify_chain(session, tenant_id).findings:
        found.setdefault(finding.kind, set()).update(range(finding.seq, finding.through + 1))
    return found


CHANGES = {
    "actor": "actor = 'somebody else'",
    "payload": """payload = '{"no": 1}'""",
    "at": "at = '2020-01-01 00:00:00+00:00'",
    "prev_hash": "prev_hash = 'x'",
    "action": "action = action || '.'",
}


@given(changes=st.dictionaries(places, st.sampled_from(sorted(CHANGES)), min_size=1))
@examples
def test_changed_entries_are_named(
    database: Database, tenant_id: uuid.UUID, changes: dict[int, str]
) -> None:
    with _owning(database) as session:
        for seq, column in changes.items():
            change = f"UPDATE audit_events SET {CHANGES[column]} WHERE seq = :seq"  # noqa: S608
            _run(session, change, seq=seq)
        assert _kinds(session, tenant_id) == {"changed": set(changes)}


@given(removed=st.sets(st.integers(1, LENGTH - 1), min_size=1))
@examples
def test_removed_entries_are_named(
    database: Database, tenant_id: uuid.UUID, removed: set[int]
) -> None:
    with _owning(database) as session:
        for seq in removed:
            _run(session, "DELETE FROM audit_events WHERE seq = :seq", seq=seq)
        assert _kinds(session, tenant_id) == {"removed": removed}


@given(pair=st.sets(places, min_size=2, max_size=2))
@examples
def test_entries_that_changed_places_are_named(
    database: Database, tenant_id: uuid.UUID, pair: set[int]
) -> None:
    first, second = pair
    with _owning(database) as session:
        for old, new in ((first, -1), (second, first), (-1, second)):
            move = "UPDATE audit_events SET seq = :new WHERE seq = :old"
            _run(session, move, old=old, new=new)
        assert _kinds(session, tenant_id) == {"reordered": pair}


@given(seq=st.integers(2, LENGTH - 1), well=st.booleans())
@examples
def test_an_inserted_entry_is_named(
    database: Database, tenant_id: uuid.UUID, seq: int, well: bool
) -> None:
    with _owning(database) as session:
        before = session.get_one(AuditEvent, (tenant_id, seq - 1))
        false = AuditEvent(
            tenant_id=tenant_id,
            seq=seq,
            at=before.at,
            actor="a",
            action="thing.invented",
            resource="things/99",
            payload={},
            prev_hash=before.hash,
        )
        false.hash = ledger.event_hash(false) if well else "f" * 64
        _shift(session, seq, 1)
        session.add(false)
        session.flush()
        moved = set(range(seq + 1, LENGTH + 2))
        assert _kinds(session, tenant_id) == {"inserted": {seq}, "reordered": moved}


@given(left=st.integers(0, LENGTH - 1))
@examples
def test_a_cut_off_end_is_named_by_a_checkpoint(
    database: Database, tenant_id: uuid.UUID, signer: Signer, left: int
) -> None:
    with _owning(database) as session:
        ledger.add_checkpoint(session, tenant_id, partial(sign_head, signer=signer))
        _run(session, "DELETE FROM audit_events WHERE seq > :left", left=left)
        assert _kinds(session, tenant_id) == {"cut_off": set(range(left + 1, LENGTH + 1))}


def test_no_checkpoint_is_signed_over_damage(
    database: Database, tenant_id: uuid.UUID, signer: Signer
) -> None:
    sign = partial(sign_head, signer=signer)
    with _owning(database) as session:
        _run(session, "UPDATE audit_events SET actor = 'b' WHERE seq IN (3, 5)")
        with pytest.raises(Conflict) as refused:
            ledger.add_checkpoint(session, tenant_id, sign)
        assert [entry["seq"] for entry in refused.value.extensions["damages"]] == [3, 5]
    with _owning(database) as session:
        ledger.add_checkpoint(session, tenant_id, sign)
        _run(session, "DELETE FROM audit_events WHERE seq >= 8")
        with pytest.raises(Conflict, match="damaged"):
            ledger.add_checkpoint(session, tenant_id, sign)


def test_a_checkpoint_that_was_not_signed_so_is_named(
    database: Database, tenant_id: uuid.UUID, signer: Signer
) -> None:
    keys = keys_of_jwks(signer.jwks())
    with _owning(database) as session:
        ledger.add_checkpoint(session, tenant_id, partial(sign_head, signer=signer))
        assert ledger.verify_chain(session, tenant_id, keys=keys).ok
        _run(session, "DELETE FROM audit_events WHERE seq = 10")
        last = ledger.log_position(session, tenant_id)
        change = "UPDATE audit_checkpoints SET seq = 9, hash = :hash"
        _run(session, change, hash=last.hash)
        assert ledger.verify_chain(session, tenant_id).ok  # rows alone can be made to agree
        [found] = ledger.verify_chain(session, tenant_id, keys=keys).findings
        assert (found.seq, found.kind) == (9, "false_checkpoint")


def test_what_is_no_json_is_named_and_does_not_stop_the_check(
    sqlite_database: Database,
) -> None:
    with sqlite_database.write() as session:
        tenant_id = ensure_tenant(session).id
        ledger.record_event(session, tenant_id, "a", "thing.done", "things/1", {})
    with _owning(sqlite_database) as session:
        _run(session, "UPDATE audit_events SET payload = '{', at = 'noon' WHERE seq = 1")
        assert _kinds(session, tenant_id) == {"changed": {1}}


@pytest.mark.parametrize(
    "twin",
    [
        "11, at, 'b', action, resource, payload, prev_hash",
        "10, at, 'b', action, resource, payload, 'x'",
    ],
)
def test_the_database_refuses_a_fork(database: Database, tenant_id: uuid.UUID, twin: str) -> None:
    fork = f"INSERT INTO audit_events SELECT tenant_id, {twin}, 'y' FROM audit_events"  # noqa: S608
    with pytest.raises(IntegrityError), database.write() as session:
        _run(session, f"{fork} WHERE seq = 10")


@pytest.mark.parametrize("verb", ["UPDATE audit_checkpoints SET seq = 1", "DELETE FROM {}"])
def test_the_database_refuses_to_change_a_checkpoint(
    database: Database, tenant_id: uuid.UUID, signer: Signer, verb: str
) -> None:
    with database.write() as session:
        ledger.add_checkpoint(session, tenant_id, partial(sign_head, signer=signer))
    with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
        session.execute(text(verb.format("audit_checkpoints")))
