"""The way of a request through its run: coalescing, rungs, looks, promotion, cancelling."""

import pytest

from service.errors import Conflict, IllegalMove
from service.tables import (
    Job,
    JobKind,
    JobStatus,
    ModelVersion,
    Reference,
    Report,
    Run,
    RunState,
    VersionState,
)
from tests.service.ledger.world import LOOKS, World


def _states(world: World) -> list[str]:
    return [str(version.state) for version in world.all(ModelVersion)]


def test_a_request_that_passes_gets_a_signed_report_and_a_new_current_version(
    world: World,
) -> None:
    request_id = world.request("s0", "s5")
    assert world.get(request_id).status == "in_progress"
    world.work()
    request = world.get(request_id)
    assert (request.status, request.verdict) == ("completed", "PASS")
    assert world.current().number == 2
    assert request.result_version_id == world.current().id
    assert _states(world) == ["superseded", "current"]
    [report] = world.all(Report)
    assert report.request_id == request_id
    assert report.figures[0]["uri"] == World.key("audit-bars")
    assert world.run_of(request_id).state == RunState.COMPLETED


def test_requests_that_wait_together_share_one_run_and_each_gets_its_own_report(
    world: World,
) -> None:
    first = world.request("s0")
    others = [world.request("s1"), world.request("s2", "s3")]
    assert [world.get(key).status for key in others] == ["pending", "pending"]
    world.work()
    runs = world.all(Run)
    assert len(runs) == 2
    assert world.run_of(first).id == runs[0].id
    assert {world.run_of(key).id for key in others} == {runs[1].id}
    assert len({report.request_id for report in world.all(Report)}) == 3
    sets = [handed.spec["forget_sets"] for handed in world.handed if handed.kind == "audit"]
    assert set(sets[1]) == {str(key) for key in others}


def test_requests_with_other_terms_wait_for_a_run_of_their_own(world: World) -> None:
    world.request("s0")
    second = world.request("s1", ladder=("muda", "retrain"))
    third = world.request("s2")
    world.work()
    assert len({world.run_of(key).id for key in (second, third)}) == 2


def test_a_second_run_never_trains_on_what_the_first_erased(world: World) -> None:
    world.request("s0", "s4")
    world.work()
    second = world.request("s7")
    world.work()
    seen = [handed for handed in world.handed if handed.run_id == world.run_of(second).id]
    assert {handed.kind for handed in seen} == {"reference", "unlearn", "audit"}
    for handed in seen:
        training = {uri for uri, role in handed.roles.items() if role in ("retain", "forget")}
        assert training.isdisjoint({"0.png", "4.png"})
        assert ("7.png" in training) == (handed.kind != "reference")
        roles = {"retain", "forget", "holdout", "erased"} if handed.kind == "audit" else None
        if roles:
            assert set(handed.roles.values()) == roles
            assert handed.roles["0.png"] == handed.roles["4.png"] == "erased"
        else:
            assert "erased" not in handed.roles.values()
    assert next(h for h in seen if h.kind == "unlearn").roles["7.png"] == "forget"


def test_positions_in_an_audit_point_at_the_right_samples(world: World) -> None:
    world.request("s9")
    world.work()
    second = world.request("s1", "s11")
    world.work()
    handed = world.handed[-1]
    uris = list(handed.roles)
    chosen = [uris[position] for position in handed.spec["forget_sets"][str(second)]]
    assert chosen == ["1.png", "11.png"]
    assert [uris[position] for position in handed.spec["erased"]] == ["1.png", "9.png", "11.png"]


def test_a_failing_candidate_makes_the_run_climb_until_retraining_closes_it(world: World) -> None:
    request_id = world.request("s0")
    world.work("FAIL")
    request, run = world.get(request_id), world.run_of(request_id)
    assert (request.status, request.verdict) == ("completed", "RETRAINED")
    assert [entry["method"] for entry in run.tries] == ["muda", "distilled_recovery", "retrain"]
    assert [entry["audits"][str(request_id)]["verdict"] for entry in run.tries] == ["FAIL"] * 3
    assert run.tries[0]["retrain_ratio"] == 0.5
    assert run.tries[0]["retrain_ratio_with_references"] == 0.5 + LOOKS[0]
    assert _states(world) == ["superseded", "rejected", "rejected", "current"]
    assert len(world.references()) == LOOKS[0]


def test_one_request_that_does_not_close_takes_the_whole_run_up(world: World) -> None:
    world.request("s0")
    second, third = world.request("s1"), world.request("s2")
    verdicts = iter(["PASS", "FAIL", "PASS", "PASS", "PASS"])
    world.work(lambda _: next(verdicts))
    assert [world.get(key).verdict for key in (second, third)] == ["PASS", "PASS"]
    assert len(world.run_of(second).tries) == 2


def test_without_a_rung_left_the_requests_fail_and_may_be_made_again(world: World) -> None:
    request_id = world.request("s0", ladder=("muda",))
    world.work("FAIL")
    request = world.get(request_id)
    assert (request.status, request.reason_code) == ("failed", "no_rung_left")
    assert request.reason is not None
    assert "still contains the data" in request.reason
    assert world.current().number == 1
    assert world.erased() == {0}
    again = world.request("s0")
    world.work()
    assert world.get(again).verdict == "PASS"


def test_an_inconclusive_audit_gets_the_next_look_with_more_references(world: World) -> None:
    request_id = world.request("s0", policy="standard")
    verdicts = iter(["INCONCLUSIVE", "PASS"])
    world.work(lambda _: next(verdicts))
    run = world.run_of(request_id)
    assert world.get(request_id).verdict == "PASS"
    assert [entry["look"] for entry in run.tries] == [1, 2]
    assert sorted(row.seed for row in world.references()) == list(range(1000, 1000 + LOOKS[1]))
    assert len(world.handed[-1].spec["references"]) == LOOKS[1]
    assert world.all(ModelVersion)[-1].number == 2


def test_after_the_last_look_an_inconclusive_run_climbs(world: World) -> None:
    request_id = world.request("s0", policy="standard")
    world.work("INCONCLUSIVE")
    looks = [(entry["rung"], entry["look"]) for entry in world.run_of(request_id).tries]
    assert looks == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]
    assert world.get(request_id).verdict == "RETRAINED"


def test_nothing_to_remove_keeps_the_base_current(world: World) -> None:
    request_id = world.request("s0")
    world.work("NOTHING_TO_REMOVE")
    request = world.get(request_id)
    assert (request.status, request.verdict) == ("completed", "NOTHING_TO_REMOVE")
    assert world.current().number == 1
    assert request.result_version_id == world.current().id
    assert _states(world) == ["current", "rejected"]
    assert world.erased() == {0}


def test_one_pass_beside_nothing_to_remove_promotes_the_candidate(world: World) -> None:
    world.request("s0")
    pair = [world.request("s1"), world.request("s2")]
    verdicts = {str(pair[0]): "NOTHING_TO_REMOVE"}
    world.work(lambda key: verdicts.get(key, "PASS"))
    assert world.current().number == 3
    assert [world.get(key).verdict for key in pair] == ["NOTHING_TO_REMOVE", "PASS"]


def test_a_stale_base_is_never_promoted_and_its_requests_run_again(world: World) -> None:
    request_id = world.request("s0")
    claim = world.hold(JobKind.AUDIT)
    old = world.run_of(request_id)
    _supersede(world)
    assert world.finish(claim)
    assert world.get(request_id).status == "in_progress"
    run = world.run_of(request_id)
    assert run.id != old.id
    assert world.all(Run)[0].state == RunState.FAILED
    assert world.all(Report) == []
    world.work()
    assert world.get(request_id).verdict == "PASS"
    assert world.current().parent_id == run.base_version_id


def _supersede(world: World) -> None:
    """Put another version in the base's place, as an operator's import would."""
    with world.database.write() as session:
        base = session.query(ModelVersion).filter_by(state=VersionState.CURRENT).one()
        base.state = VersionState.SUPERSEDED
        session.flush()
        fields = ("tenant_id", "model_id", "weights_uri", "weights_sha256", "created_at")
        copied = {name: getattr(base, name) for name in fields}
        session.add(ModelVersion(**copied, number=100, state=VersionState.CURRENT))


def test_after_a_chain_of_approximate_runs_the_next_one_retrains(world: World) -> None:
    for i in range(2):
        world.request(f"s{i}")
        world.work()
    third = world.request("s5", ladder=("muda",))
    world.work()
    assert world.get(third).verdict == "RETRAINED"
    fourth = world.request("s6")
    world.work()
    assert [entry["method"] for entry in world.run_of(fourth).tries] == ["muda"]


def test_without_an_audit_the_run_retrains_and_its_checks_are_attached(world: World) -> None:
    request_id = world.request("s0", audit="none")
    assert world.work("FAIL") == 2
    assert world.get(request_id).verdict == "RETRAINED"
    context = world.contexts[-1]
    assert context.audit is not None
    assert context.audit["parts"][0]["checks"]
    assert (context.verdict, context.tries[-1]["audits"][str(request_id)]["verdict"]) == (
        "RETRAINED",
        "FAIL",
    )
    assert (context.references, world.references()) == ((), [])


def test_a_method_that_diverges_is_a_rung_that_did_not_hold(world: World) -> None:
    request_id = world.request("s0")
    claim = world.hold(JobKind.UNLEARN)
    assert world.fail(claim, code="non_finite_loss")
    world.work()
    assert [entry["method"] for entry in world.run_of(request_id).tries] == ["distilled_recovery"]


def test_cancelling_a_waiting_request_leaves_the_run_alone(world: World) -> None:
    first, second = world.request("s0"), world.request("s1")
    world.cancel(second)
    world.work()
    assert [world.get(key).status for key in (first, second)] == ["completed", "cancelled"]
    assert world.erased() == {0, 1}


def test_cancelling_the_only_request_ends_its_run_and_starts_the_next(world: World) -> None:
    first, second = world.request("s0"), world.request("s1")
    held = world.hold(JobKind.UNLEARN)
    world.cancel(first)
    assert world.all(Run)[0].state == RunState.CANCELLED
    assert not world.finish_late(held)
    assert world.get(second).status == "in_progress"
    stuck = [row for row in world.all(Reference) if row.state == "training"]
    assert {row.retain_digest for row in stuck} <= {world.run_of(second).retain_digest}
    world.work()
    assert world.get(second).verdict == "PASS"


@pytest.mark.parametrize("kind", [JobKind.REFERENCE, JobKind.UNLEARN, JobKind.AUDIT])
def test_cancelling_one_of_several_restarts_the_run_without_it(world: World, kind: JobKind) -> None:
    world.request("s0")
    world.work(limit=1)
    kept, gone = world.request("s1"), world.request("s2")
    while world.get(kept).status == "pending":
        world.finish(world.hold(JobKind.AUDIT))
    held = world.hold(kind)
    world.cancel(gone)
    if kind == JobKind.REFERENCE:
        assert world.finish(held)
    else:
        assert not world.finish_late(held)
    world.work()
    run = world.run_of(kept)
    assert [world.get(key).status for key in (kept, gone)] == ["completed", "cancelled"]
    unlearned = [h for h in world.handed if h.run_id == run.id and h.kind == "unlearn"][-1]
    assert "2.png" not in unlearned.roles
    assert unlearned.roles["1.png"] == "forget"
    assert set(run.tries[-1]["audits"]) == {str(kept)}
    assert world.erased() == {0, 1, 2}


def test_a_closed_request_cannot_be_cancelled(world: World) -> None:
    request_id = world.request("s0")
    world.work()
    with pytest.raises(Conflict) as caught:
        world.cancel(request_id)
    assert caught.value.code == "already_closed"
    assert not isinstance(caught.value, IllegalMove)


def test_no_job_is_left_over_when_all_is_done(world: World) -> None:
    world.request("s0")
    world.request("s1", policy="standard")
    world.work("INCONCLUSIVE")
    assert {job.status for job in world.all(Job)} == {JobStatus.COMPLETED}
