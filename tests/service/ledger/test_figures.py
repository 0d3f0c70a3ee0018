"""The figures of a monitor, on both databases."""

from service import ledger, tables
from service.config import Settings
from service.database import Database
from service.ledger.figures import ledger_figures
from tests.service.ledger.world import World


def test_figures_are_counted_and_aged(database: Database) -> None:
    world = World(database)
    with database.read() as session:
        empty = ledger_figures(session)
    assert not empty.jobs
    assert (empty.queue_age_s, empty.outbox_lag_s, empty.silent) == (0, 0, 0)
    world.register()
    world.request("s0")
    with database.read() as session:
        found = ledger_figures(session)
        outbox = session.query(tables.Outbox).filter_by(sent_at=None).count()
    assert sum(found.open_requests.values()) == 1
    assert found.jobs["check", "completed"] == 1
    assert found.jobs["unlearn", "queued"] == 1
    assert found.outbox_due == outbox > 0
    assert 0 < found.queue_age_s < 600
    assert 0 < found.outbox_lag_s < 600
    claim = world.claim(world.dispatch()[0])
    assert claim is not None
    world.fail(claim, "transient")
    with database.read() as session:
        found = ledger_figures(session)
    assert (found.failures[claim.kind], found.lost_leases[claim.kind]) == (1, 0)


def test_a_lease_is_lost_to_the_sweep_or_to_the_next_worker(database: Database) -> None:
    world = World(database)
    world.register()
    world.request("s0")
    claim = world.claim(world.dispatch()[0])
    assert claim is not None
    world.expire(claim.job_id)
    later = world.claim(claim.job_id)
    assert later is not None
    world.expire(claim.job_id)
    with database.write() as session:
        assert ledger.sweep(session, Settings()).requeued == 1
    with database.read() as session:
        found = ledger_figures(session)
    assert (found.failures[claim.kind], found.lost_leases[claim.kind]) == (2, 2)
    assert found.jobs[claim.kind, "queued"] >= 1
