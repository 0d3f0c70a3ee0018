"""Checkpoints: signed when the log has grown, at most once for each head."""

import uuid
from functools import partial
from pathlib import Path

import pytest

from service import ledger
from service.checkpoints import read_checkpoint, sign_head
from service.database import Database
from service.errors import NotFound
from service.keys import ensure_tenant
from service.ledger import Caller
from service.ledger.checkpoints import Sign
from service.signing import Signer, load_signer
from service.verify import VerificationError, keys_of_jwks


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return load_signer(tmp_path / "signing.pem", create=True)


@pytest.fixture
def sign(signer: Signer) -> Sign:
    return partial(sign_head, signer=signer)


@pytest.fixture
def tenant_id(database: Database) -> uuid.UUID:
    with database.write() as session:
        return ensure_tenant(session).id


def _grow(database: Database, tenant_id: uuid.UUID) -> None:
    with database.write() as session:
        ledger.record_event(session, tenant_id, "a", "thing.done", "things/1", {})


def test_a_head_is_signed_once(database: Database, tenant_id: uuid.UUID, sign: Sign) -> None:
    with database.write() as session:
        first, new = ledger.add_checkpoint(session, tenant_id, sign)
        assert (first.seq, new) == (1, True)
        assert ledger.add_checkpoint(session, tenant_id, sign) == (first, False)
    _grow(database, tenant_id)
    with database.write() as session:
        second, new = ledger.add_checkpoint(session, tenant_id, sign)
        assert (second.seq, new) == (2, True)
        assert second.hash == ledger.log_position(session, tenant_id).hash


def test_a_checkpoint_says_what_was_signed(
    database: Database, tenant_id: uuid.UUID, sign: Sign, signer: Signer, tmp_path: Path
) -> None:
    with database.write() as session:
        row, _ = ledger.add_checkpoint(session, tenant_id, sign)
    tenant, anchor = read_checkpoint(row.envelope, keys_of_jwks(signer.jwks()))
    assert (tenant, anchor.seq, anchor.hash) == (str(tenant_id), row.seq, row.hash)
    other = load_signer(tmp_path / "other.pem", create=True)
    with pytest.raises(VerificationError):
        read_checkpoint(row.envelope, keys_of_jwks(other.jwks()))


def test_only_logs_that_have_grown_since_an_old_checkpoint_are_due(
    database: Database, tenant_id: uuid.UUID, sign: Sign
) -> None:
    with database.write() as session:
        other = ensure_tenant(session, "other").id
    with database.read() as session:
        assert set(ledger.due_checkpoints(session, 3600)) == {tenant_id, other}
    for owner in (tenant_id, other):
        with database.write() as session:
            ledger.add_checkpoint(session, owner, sign)
    _grow(database, other)
    with database.read() as session:
        assert ledger.due_checkpoints(session, 0) == [other]
        assert ledger.due_checkpoints(session, 3600) == []


def test_a_tenant_sees_its_own_checkpoints(
    database: Database, tenant_id: uuid.UUID, sign: Sign
) -> None:
    with database.write() as session:
        other = ensure_tenant(session, "other").id
    for _ in range(3):
        _grow(database, tenant_id)
        with database.write() as session:
            ledger.add_checkpoint(session, tenant_id, sign)
    own = Caller(tenant_id, "x")
    with database.read() as session:
        page = ledger.list_checkpoints(session, own, limit=2)
        rest = ledger.list_checkpoints(session, own, page.next_cursor)
        assert [row.seq for row in page.items + rest.items] == [2, 3, 4]
        assert ledger.get_checkpoint(session, own).seq == 4
        assert ledger.list_checkpoints(session, Caller(other, "x")).items == []
        with pytest.raises(NotFound):
            ledger.get_checkpoint(session, Caller(other, "x"))
