"""API keys: shown once, kept as a hash, and of no use once expired or revoked."""

import uuid
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, update

from service.database import Database, now
from service.errors import Conflict, InvalidCredentials, NotFound, Unprocessable
from service.keys import (
    SCOPES,
    authenticate,
    create_key,
    ensure_tenant,
    list_keys,
    revoke,
    rotate_key,
)
from service.ledger import verify_chain
from service.tables import ApiKey
from service.tokens import Token, new_token, parse_token


@pytest.fixture
def tenant_id(database: Database) -> uuid.UUID:
    """Return a tenant."""
    with database.write() as session:
        return ensure_tenant(session).id


def test_a_key_opens_its_tenants_door_with_its_scopes(
    database: Database, tenant_id: uuid.UUID
) -> None:
    with database.write() as session:
        row, token = create_key(session, tenant_id, "ci", ["models:read"])
    assert token.startswith(f"ex_live_{row.prefix}_")
    with database.read() as session:
        caller = authenticate(session, token)
    assert (caller.tenant_id, caller.scopes) == (tenant_id, frozenset({"models:read"}))
    assert caller.actor == f"key:{row.prefix}"


def test_the_secret_is_nowhere_in_the_database(database: Database, tenant_id: uuid.UUID) -> None:
    with database.write() as session:
        _, token = create_key(session, tenant_id, "ci")
    secret = token.rpartition("_")[2].encode()
    with database.read() as session:
        [row] = list_keys(session, tenant_id)
    assert secret not in b" ".join(str(value).encode() for value in vars(row).values())
    assert secret not in row.secret_hash


@pytest.mark.parametrize(
    "token", ["", "x", "ex_live_a", "ex_live_a_b", "ex_test_a_b", "ex_live_a_b_c", "Bearer x"]
)
def test_what_is_no_key_is_refused(database: Database, token: str) -> None:
    with database.read() as session, pytest.raises(InvalidCredentials):
        authenticate(session, token)


def test_a_key_with_another_secret_is_refused(database: Database, tenant_id: uuid.UUID) -> None:
    with database.write() as session:
        first, _ = create_key(session, tenant_id, "one")
        _, other = create_key(session, tenant_id, "two")
    stolen = parse_token(other)
    assert stolen is not None
    mixed = str(Token(first.prefix, stolen.secret))
    with database.read() as session, pytest.raises(InvalidCredentials):
        authenticate(session, mixed)


def test_a_revoked_key_is_refused_from_then_on(database: Database, tenant_id: uuid.UUID) -> None:
    with database.write() as session:
        row, token = create_key(session, tenant_id, "ci")
    with database.write() as session:
        revoke(session, tenant_id, row.id)
        revoke(session, tenant_id, row.id)
        with pytest.raises(InvalidCredentials):
            authenticate(session, token)
        with pytest.raises(NotFound):
            revoke(session, uuid.uuid4(), row.id)
    with database.read() as session:
        assert verify_chain(session, tenant_id).length == 3


def test_an_expired_key_is_refused(database: Database, tenant_id: uuid.UUID) -> None:
    with database.write() as session:
        moment = now(session)
        _, token = create_key(session, tenant_id, "ci", expires_at=moment)
        _, later = create_key(session, tenant_id, "ci", expires_at=moment + timedelta(days=1))
    with database.read() as session:
        assert authenticate(session, later)
        with pytest.raises(InvalidCredentials):
            authenticate(session, token)


def test_the_last_use_is_noted_at_most_once_a_minute(
    database: Database, tenant_id: uuid.UUID
) -> None:
    def use() -> object:
        with database.write() as session:
            authenticate(session, token)
        with database.read() as session:
            return list_keys(session, tenant_id)[0].last_used_at

    with database.write() as session:
        row, token = create_key(session, tenant_id, "ci")
    assert row.last_used_at is None
    first = use()
    assert first is not None
    assert use() == first
    with database.write() as session:
        earlier = now(session) - timedelta(minutes=2)
        session.execute(update(ApiKey).values(last_used_at=earlier))
    assert use() != earlier


def test_an_unknown_scope_is_refused(database: Database, tenant_id: uuid.UUID) -> None:
    with pytest.raises(Unprocessable, match="models:eat"), database.write() as session:
        create_key(session, tenant_id, "ci", [*SCOPES, "models:eat"])


def test_a_tenant_is_made_once(database: Database, tenant_id: uuid.UUID) -> None:
    with database.write() as session:
        assert ensure_tenant(session).id == tenant_id
        assert ensure_tenant(session, "other").id != tenant_id


# the token


@given(st.integers(0, 66), st.sampled_from("0Aaz_ é"))
def test_a_typing_error_is_no_key(place: int, typed: str) -> None:
    token = str(Token("a" * 10, "B" * 40))
    assert len(token) == 65
    wrong = token[:place] + typed + token[place + 1 :]
    assert wrong == token or parse_token(wrong) is None


def test_a_token_is_read_as_it_was_written() -> None:
    token = new_token()
    assert parse_token(str(token)) == token
    for wrong in (f" {token}", f"{token}\n", str(token)[:-1], str(token).upper()):
        assert parse_token(wrong) is None


def test_what_is_no_key_costs_no_look_up(database: Database) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the database was asked")

    with database.read() as session:
        event.listen(session.connection(), "before_execute", fail)
        with pytest.raises(InvalidCredentials):
            authenticate(session, str(new_token())[:-1] + "é")


# rotation


def test_both_secrets_open_until_the_grace_period_is_over(
    database: Database, tenant_id: uuid.UUID
) -> None:
    with database.write() as session:
        row, old = create_key(session, tenant_id, "ci", ["models:read"])
        rotated, new = rotate_key(session, tenant_id, row.id, 3600)
        callers = [authenticate(session, token) for token in (old, new)]
    assert callers[0] == callers[1]
    assert (rotated.id, rotated.prefix) == (row.id, row.prefix)
    with database.write() as session:
        session.execute(update(ApiKey).values(previous_until=now(session)))
        assert authenticate(session, new)
        with pytest.raises(InvalidCredentials):
            authenticate(session, old)
        assert verify_chain(session, tenant_id).ok


def test_a_second_rotation_ends_the_first_secret(database: Database, tenant_id: uuid.UUID) -> None:
    with database.write() as session:
        row, first = create_key(session, tenant_id, "ci")
        second = rotate_key(session, tenant_id, row.id, 3600)[1]
        third = rotate_key(session, tenant_id, row.id, 3600)[1]
        assert authenticate(session, second) == authenticate(session, third)
        with pytest.raises(InvalidCredentials):
            authenticate(session, first)


def test_a_key_that_has_ended_opens_with_neither_secret_and_is_not_rotated(
    database: Database, tenant_id: uuid.UUID
) -> None:
    with database.write() as session:
        row, old = create_key(session, tenant_id, "ci")
        new = rotate_key(session, tenant_id, row.id, 3600)[1]
        revoke(session, tenant_id, row.id)
        for token in (old, new):
            with pytest.raises(InvalidCredentials):
                authenticate(session, token)
        with pytest.raises(Conflict, match="revoked"):
            rotate_key(session, tenant_id, row.id, 0)
        with pytest.raises(NotFound):
            rotate_key(session, uuid.uuid4(), row.id, 0)
