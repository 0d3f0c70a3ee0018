"""Runs that rest on a qualification: what they may say, and when the qualification is over."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service import ledger, policies
from service.config import Settings
from service.errors import Conflict
from service.ledger.qualified import DOES_NOT_PROVE
from service.tables import AuditEvent, Job, JobKind, JobStatus, Report
from tests.service.ledger import answers
from tests.service.ledger.answers import checked_answer
from tests.service.ledger.world import World

LADDER = ("muda", "retrain")


def _live(world: World, method: str = "muda", **order: Any) -> uuid.UUID:  # noqa: ANN401 - fields of the order
    key = world.qualify(method, **order)
    world.work("PASS")
    assert world.qualification(key).state == "live"
    return key


def _ask(world: World, *sample_ids: str, **order: Any) -> uuid.UUID:  # noqa: ANN401 - fields of the order
    return world.request(*sample_ids, **{"audit": "qualified", "ladder": LADDER, **order})


def _reason(world: World, key: uuid.UUID) -> tuple[str, str | None]:
    row = world.qualification(key)
    return str(row.state), row.reason_code


def test_a_clean_run_closes_qualified_is_promoted_and_cites_its_qualification(
    world: World,
) -> None:
    key = _live(world, trials=4)
    request_id = _ask(world, "s0", "s5")
    world.work("PASS")
    request = world.get(request_id)
    assert (request.status, request.verdict) == ("completed", "QUALIFIED")
    assert world.current().number == 2
    assert world.references() == []
    context = world.contexts[-1]
    cited = context.qualification
    assert cited is not None
    assert (cited["id"], cited["method"]["name"], cited["method"]["version"]) == (
        str(key),
        "muda",
        "1",
    )
    assert cited["policy_digest"] == world.run_of(request_id).policy_digest
    assert (cited["base_version"], cited["approximate_runs_since"]) == (1, 0)
    assert set(cited["kinds"]) == {"mislabelled"}
    assert (cited["kinds"]["mislabelled"]["passes"], cited["kinds"]["mislabelled"]["trials"]) == (
        2,
        2,
    )
    assert cited["does_not_prove"] == list(DOES_NOT_PROVE)
    assert context.audit is not None
    assert context.audit["verdict"] == context.audit["parts"][0]["verdict"] == "QUALIFIED"
    assert str(key) in context.audit["reasons"][0]
    [report] = world.all(Report)
    assert report.verdict == "QUALIFIED"


@pytest.mark.parametrize("order", [{}, {"ladder": ("muda", "distilled_recovery", "retrain")}])
def test_a_method_without_a_qualification_is_refused_by_name(
    world: World, order: dict[str, Any]
) -> None:
    if order:
        _live(world)
    with pytest.raises(Conflict) as caught:
        _ask(world, "s0", **order)
    assert caught.value.code == "qualification_missing"
    assert caught.value.extensions["methods"] == [(order or {"ladder": LADDER})["ladder"][-2]]
    assert "/qualifications" in caught.value.detail
    assert world.erased() == set()


def test_a_qualification_of_another_policy_or_model_does_not_count(world: World) -> None:
    _live(world)
    with pytest.raises(Conflict):
        _ask(world, "s0", policy="standard")
    with world.database.write() as session:
        draft = world.model_draft(name="registered again")
        again = ledger.register_model(session, world.caller, draft).id
    world.work()
    with pytest.raises(Conflict):
        world.request_for(again, "s0", audit="qualified", ladder=LADDER)


def test_trials_that_failed_do_not_count_as_a_qualification(world: World) -> None:
    world.qualify()
    world.work("FAIL")
    with pytest.raises(Conflict):
        _ask(world, "s0")


def test_a_ladder_of_retrain_alone_needs_no_qualification(world: World) -> None:
    request_id = _ask(world, "s0", ladder=("retrain",))
    world.work("PASS")
    assert world.get(request_id).verdict == "RETRAINED"
    assert world.contexts[-1].qualification is None
    assert world.contexts[-1].audit is not None


def test_a_check_that_fails_makes_the_run_climb(world: World) -> None:
    _live(world)
    request_id = _ask(world, "s0")
    world.work("FAIL")
    run = world.run_of(request_id)
    assert world.get(request_id).verdict == "RETRAINED"
    assert [entry["audits"][str(request_id)]["verdict"] for entry in run.tries] == ["FAIL", "FAIL"]


def _checked(monkeypatch: pytest.MonkeyPatch, *scopes: str, ok: bool | None = True) -> None:
    def answered(clean: dict[str, bool]) -> dict[str, Any]:
        result = checked_answer(clean, *scopes)
        for audit in result["audits"].values():
            for part in audit["parts"]:
                part["checks"][0]["ok"] = ok
        return result

    monkeypatch.setattr(answers, "checked_answer", answered)


def test_a_check_that_could_not_be_made_is_inconclusive_and_climbs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _live(world)
    _checked(monkeypatch, ok=None)
    request_id = _ask(world, "s0")
    world.work("PASS")
    assert world.get(request_id).verdict == "RETRAINED"
    first = world.run_of(request_id).tries[0]["audits"][str(request_id)]
    assert first["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("scopes", "verdict"),
    [(("class",), "QUALIFIED"), (("instance",), "RETRAINED"), (("class", "instance"), "RETRAINED")],
)
def test_trials_of_one_kind_vouch_for_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, scopes: tuple[str, ...], verdict: str
) -> None:
    _live(world, kinds=("class",))
    _checked(monkeypatch, *scopes)
    request_id = _ask(world, "s0")
    world.work("PASS")
    assert world.get(request_id).verdict == verdict


def test_a_kind_that_failed_its_trials_vouches_for_nothing(world: World) -> None:
    world.qualify()
    world.work(lambda kind: "PASS" if kind == "class" else "FAIL")
    request_id = _ask(world, "s0")
    world.work("PASS")
    assert world.get(request_id).verdict == "RETRAINED"


@pytest.mark.parametrize("verdict", ["PASS", "QUALIFIED"])
def test_a_worker_without_references_can_neither_pass_nor_qualify(
    world: World, monkeypatch: pytest.MonkeyPatch, verdict: str
) -> None:
    def lying(clean: dict[str, bool]) -> dict[str, Any]:
        result = checked_answer(clean)
        for audit in result["audits"].values():
            audit["verdict"] = verdict
        return result

    _live(world)
    monkeypatch.setattr(answers, "checked_answer", lying)
    _ask(world, "s0")
    with pytest.raises(ValueError, match="unknown verdict"):
        world.work()


def test_it_expires_when_the_model_is_retrained(world: World) -> None:
    key = _live(world)
    world.request("s0", ladder=("retrain",))
    world.work()
    assert _reason(world, key) == ("expired", "lineage_moved")
    with pytest.raises(Conflict):
        _ask(world, "s1")


def test_trials_under_way_end_when_the_model_is_retrained(world: World) -> None:
    key = world.qualify()
    world.request("s0", ladder=("retrain",), audit="none")
    held = world.hold(JobKind.TRIAL)
    other = world.hold(JobKind.TRIAL)
    world.work()
    assert _reason(world, key) == ("expired", "lineage_moved")
    assert not world.finish_late(held)
    assert not world.finish_late(other)
    trials = [job for job in world.all(Job) if job.kind == JobKind.TRIAL]
    assert {job.status for job in trials} == {JobStatus.CANCELLED}


def test_it_outlives_approximate_runs_until_the_policys_limit(world: World) -> None:
    key = _live(world)
    for number in range(2):  # the tests' policies allow a chain of two
        assert _reason(world, key) == ("live", None)
        request_id = _ask(world, f"s{number}")
        world.work("PASS")
        assert world.get(request_id).verdict == "QUALIFIED"
        cited = world.contexts[-1].qualification
        assert cited is not None
        assert cited["approximate_runs_since"] == number
    assert _reason(world, key) == ("expired", "drifted")


def _change_policy(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any | None]) -> None:
    changed = tuple(new for policy in policies._all_policies() if (new := change(policy)))
    monkeypatch.setattr(policies, "_all_policies", lambda: changed)


@pytest.mark.parametrize("removed", [True, False])
def test_it_expires_when_the_policy_changes(
    world: World, monkeypatch: pytest.MonkeyPatch, *, removed: bool
) -> None:
    key = _live(world)
    _change_policy(
        monkeypatch,
        lambda policy: (
            policy
            if policy.name != "first-look"
            else None
            if removed
            else replace(policy, digest="0" * 64)
        ),
    )
    with world.database.write() as session:
        ledger.sweep(session, Settings())
    assert _reason(world, key) == ("expired", "policy_changed")


def test_a_new_version_of_the_policy_leaves_it_to_those_who_name_the_old_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _live(world)
    newest = [p for p in policies._all_policies() if p.name == "first-look"][-1]
    successor = replace(newest, version=newest.version + 1, digest="1" * 64)
    both = (*policies._all_policies(), successor)
    monkeypatch.setattr(policies, "_all_policies", lambda: both)
    with pytest.raises(Conflict):
        _ask(world, "s0")
    request_id = _ask(world, "s0", policy=f"first-look/{newest.version}")
    world.work("PASS")
    assert world.get(request_id).verdict == "QUALIFIED"


@pytest.mark.parametrize("change", [{"version": "2"}, {"hyperparameters": {"epochs": 1}}])
def test_it_expires_when_the_method_is_another_one_than_in_the_trials(
    world: World, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    key = _live(world)
    plain = answers.answer

    def updated(spec: dict[str, Any], claim: ledger.Claim, verdict: answers.Verdict) -> Any:  # noqa: ANN401 - any JSON value
        result = plain(spec, claim, verdict)
        return result | {"method": result["method"] | change} if "method" in result else result

    monkeypatch.setattr("tests.service.ledger.world.answer", updated)
    request_id = _ask(world, "s0")
    world.work("PASS")
    assert _reason(world, key) == ("expired", "method_changed")
    assert world.get(request_id).verdict == "RETRAINED"


def test_a_request_that_waited_while_it_expired_skips_the_method(world: World) -> None:
    key = _live(world)
    world.request("s0", ladder=("retrain",))
    waiting = _ask(world, "s1", ladder=("muda",))
    world.work("PASS")
    assert _reason(world, key) == ("expired", "lineage_moved")
    run = world.run_of(waiting)
    assert world.get(waiting).verdict == "RETRAINED"
    assert [entry["method"] for entry in run.tries] == ["retrain"]
    with world.database.read() as session:
        actions = [event.action for event in session.query(AuditEvent).order_by(AuditEvent.seq)]
    assert "run.skipped" in actions


def test_a_last_rung_that_is_not_qualified_is_followed_by_no_other(world: World) -> None:
    _live(world)
    request_id = _ask(world, "s0", ladder=("muda",))
    world.work("FAIL")
    request = world.get(request_id)
    assert (request.status, request.reason_code) == ("failed", "no_rung_left")
