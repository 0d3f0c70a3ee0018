"""What the ledger still needs is named, so that no collector takes it for an orphan."""

from service import ledger
from service.ledger import Caller
from service.tables import JobKind, Pool, Report
from tests.service.ledger.answers import key
from tests.service.ledger.world import World


def named(world: World) -> set[str]:
    with world.database.read() as session:
        return ledger.named_artifacts(session)


def test_figures_of_a_candidate_that_waits_for_approval_are_named(world: World) -> None:
    request_id = world.request("s0", approval=True)
    world.work("PASS")
    assert world.all(Report) == []
    assert key("audit-bars") in named(world)
    with world.database.write() as session:
        officer = Caller(world.caller.tenant_id, "key:officer")
        ledger.decide(
            session,
            officer,
            request_id,
            "approved",
            "other",
            candidate=None,
            publish=world._publish,
        )
    [report] = world.all(Report)
    assert {figure["uri"] for figure in report.figures} == {key("audit-bars")} <= named(world)


def test_figures_of_a_withdrawn_question_are_not(world: World) -> None:
    request_id = world.request("s0", approval=True)
    world.work("PASS")
    world.cancel(request_id)
    assert key("audit-bars") not in named(world)


def test_the_predictions_of_a_ready_pool_are_named(world: World) -> None:
    world.request("s0", pool=True)
    world.hold(JobKind.UNLEARN)
    [pool] = world.all(Pool)
    assert pool.predictions_uri in named(world)
