"""The outbox: every wake-up that was committed is sent, none that was rolled back."""

import uuid

import pytest

from service import ledger
from service.database import Database
from service.tables import Outbox
from tests.service.ledger.answers import in_threads
from tests.service.ledger.world import World, rolled_back


def test_wake_ups_of_a_rolled_back_transaction_are_never_sent(world: World) -> None:
    with rolled_back(world.database) as session:
        order = ledger.RequestOrder(model_id=world.model_id, sample_ids=["s0"])
        ledger.open_request(session, world.caller, order)
        assert session.query(Outbox).filter_by(sent_at=None).count() > 0
    assert world.dispatch() == []
    assert world.erased() == set()


def test_wake_ups_are_sent_again_when_the_broker_fails(world: World) -> None:
    world.request("s0")
    sent: list[uuid.UUID] = []

    def send(job_id: uuid.UUID) -> None:
        if sent:
            raise ConnectionError
        sent.append(job_id)

    with pytest.raises(ConnectionError), world.database.write() as session:
        ledger.dispatch(session, send)
    assert sent[0] in world.dispatch()
    assert len(world.woken) == 2


def test_dispatchers_at_once_send_each_wake_up_once(world: World) -> None:
    with world.database.write() as session:
        for i in range(12):
            ledger.register_model(session, world.caller, world.model_draft(name=f"m{i}"))

    def send_two() -> list[uuid.UUID]:
        sent: list[uuid.UUID] = []
        with world.database.write() as session:
            ledger.dispatch(session, sent.append, 2)
        return sent

    sent = [job for part in in_threads(6, send_two) for job in part]  # type: ignore[attr-defined]
    assert len(sent) == len(set(sent)) == 12


def test_dispatchers_skip_what_another_one_holds(postgres_database: Database) -> None:
    world = World(postgres_database)
    world.register(ready=False)
    with postgres_database.write() as first:
        held: list[uuid.UUID] = []
        ledger.dispatch(first, held.append)
        assert len(held) == 1
        assert world.dispatch() == []
    assert world.dispatch() == []
