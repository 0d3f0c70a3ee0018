"""Which state may follow which: one dictionary, and no way around it."""

from enum import StrEnum

import pytest

from service.database import Database
from service.errors import IllegalMove
from service.ledger import MOVES
from service.ledger.states import move
from service.tables import JobStatus, ModelVersion, RequestStatus, VersionState
from tests.service.ledger.world import World


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.__name__)
def test_every_move_is_between_known_states_and_some_state_is_final(kind: type[StrEnum]) -> None:
    known = {state.value for state in kind}
    assert set(MOVES[kind]) <= known
    assert set().union(*MOVES[kind].values()) <= known
    assert known - set(MOVES[kind])


@pytest.mark.parametrize("final", ["completed", "cancelled", "rejected", "failed"])
def test_a_closed_request_stays_closed(final: str) -> None:
    assert final not in MOVES[RequestStatus]
    assert RequestStatus(final) in RequestStatus


def test_an_illegal_move_is_refused_and_not_written_down(sqlite_database: Database) -> None:
    world = World(sqlite_database)
    world.register()
    current = world.current()
    with pytest.raises(IllegalMove) as caught, sqlite_database.write() as session:
        move(session, session.get_one(ModelVersion, current.id), VersionState.REJECTED)
    assert (caught.value.status_code, caught.value.code) == (409, "illegal_move")
    assert world.current().number == 1


def test_a_finished_job_never_runs_again() -> None:
    for final in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
        assert final not in MOVES[JobStatus]
