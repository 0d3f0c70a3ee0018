"""Where a run starts on its ladder, what it says of that, and how versions follow each other."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.ledger import Rung
from service.ledger import requests as opening
from service.ledger.durations import Durations, durations
from service.tables import AuditEvent, Job, JobKind, ModelVersion
from tests.service.ledger.world import World


def _codes(world: World, request_id: Any) -> list[tuple[int, str]]:  # noqa: ANN401 - a UUID
    return [(note["rung"], note["code"]) for note in world.run_of(request_id).passed_over]


def _tried(world: World, request_id: Any) -> list[str]:  # noqa: ANN401 - a UUID
    return [entry["method"] for entry in world.run_of(request_id).tries]


def _events(world: World) -> list[AuditEvent]:
    with world.database.read() as session:
        return list(session.query(AuditEvent).order_by(AuditEvent.seq))


def _due_in(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    def due_at(received: datetime, regulation: str = "gdpr") -> datetime:
        return received + timedelta(seconds=seconds)

    monkeypatch.setattr(opening, "due_at", due_at)


def test_six_requests_in_a_row_chain_their_versions_and_every_third_is_retrained(
    world: World,
) -> None:
    """The tests' policies allow two approximate runs in a chain."""
    asked = []
    for number in range(6):
        before = world.current()
        asked.append(world.request(f"s{number}"))
        world.work()
        after, run = world.current(), world.run_of(asked[-1])
        assert (run.base_version_id, after.parent_id) == (before.id, before.id)
        assert world.get(asked[-1]).result_version_id == after.id
        assert after.number == before.number + 1
        [audited] = [h.roles for h in world.handed if h.run_id == run.id and h.kind == "audit"]
        erased = {uri for uri, role in audited.items() if role == "erased"}
        forget = {uri for uri, role in audited.items() if role == "forget"}
        assert erased | forget == {f"{earlier}.png" for earlier in range(number + 1)}
    verdicts = [world.get(key).verdict for key in asked]
    assert verdicts == ["PASS", "PASS", "RETRAINED"] * 2
    states = [str(version.state) for version in world.all(ModelVersion)]
    assert states == ["superseded"] * 6 + ["current"]
    assert _codes(world, asked[2]) == [(0, "chain_too_long"), (1, "chain_too_long")]
    started = world.contexts[2].start
    assert started is not None
    assert started["rung"] == 2
    assert started["reason"].startswith("Started at rung 3 of 3, retrain. 2 approximate runs")
    assert world.contexts[3].start == {"rung": 0, "reason": None}
    skipped = [e for e in _events(world) if e.action == "run.skipped"]
    assert [e.payload["code"] for e in skipped] == ["chain_too_long"] * 4


def test_rungs_rejected_three_times_in_a_row_are_left_out_and_tried_again_later(
    world: World,
) -> None:
    tried = []
    for number in range(7):
        key = world.request(f"s{number}")
        world.work("FAIL")
        assert world.get(key).verdict == "RETRAINED"
        tried.append(_tried(world, key))
    whole = ["muda", "distilled_recovery", "retrain"]
    assert tried == [whole] * 3 + [["retrain"]] * 3 + [whole]
    assert [context.start["rung"] for context in world.contexts if context.start] == [
        *([0] * 3),
        *([2] * 3),
        0,
    ]
    reason = (world.contexts[3].start or {})["reason"]
    assert "last 3 candidates for requests of scope instance" in reason


def test_rejections_in_one_scope_say_nothing_of_another(world: World) -> None:
    for name in ("s0", "s1", "s2"):
        world.request(name)
        world.work("FAIL")
    key = world.request("s3", "s6", "s9")  # with s0 all of its class
    world.work()
    assert _tried(world, key) == ["muda"]


def test_rejections_under_another_policy_or_level_say_nothing(world: World) -> None:
    for name in ("s0", "s1", "s2"):
        world.request(name)
        world.work("FAIL")
    key = world.request("s3", policy="strict")
    world.work()
    assert _tried(world, key) == ["muda"]


def test_one_success_among_rejections_keeps_the_rung(world: World) -> None:
    for name, verdict in zip(
        ("s0", "s1", "s2", "s4"), ("FAIL", "FAIL", "PASS", "FAIL"), strict=True
    ):
        world.request(name)
        world.work(verdict)
    key = world.request("s5")
    world.work()
    assert _tried(world, key) == ["muda"]


def test_the_lowest_rung_alone_is_left_out_where_the_next_one_passes(world: World) -> None:
    for number in range(3):
        world.request(f"s{number}", ladder=("muda", "retrain"))
        world.work("FAIL")
    key = world.request("s3")
    world.work()
    assert _tried(world, key) == ["distilled_recovery"]
    assert _codes(world, key) == [(0, "rejected_before")]


def test_a_ladder_s_last_rung_is_never_left_out(world: World) -> None:
    for number in range(4):
        key = world.request(f"s{number}", ladder=("muda",))
        world.work("FAIL")
        assert _tried(world, key) == ["muda"]


def test_shortly_before_the_deadline_a_run_starts_at_what_still_fits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.request("s0")
    world.work()
    _due_in(monkeypatch, 5)  # three references of two seconds each take longer
    key = world.request("s1")
    world.work()
    assert world.get(key).verdict == "RETRAINED"
    assert _codes(world, key) == [(0, "not_enough_time"), (1, "not_enough_time")]
    reason = (world.contexts[-1].start or {})["reason"]
    assert reason.startswith("Started at rung 3 of 3, retrain. 0.1 min were left")
    [planned] = [e for e in _events(world) if e.action == "run.planned" and e.payload["rung"] == 2]
    assert str(world.run_of(key).id) in planned.resource


def test_with_time_enough_or_no_history_a_run_starts_at_the_bottom(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _due_in(monkeypatch, 5)
    first = world.request("s0")
    world.work()
    _due_in(monkeypatch, 3600)
    second = world.request("s1")
    world.work()
    assert [_tried(world, key) for key in (first, second)] == [["muda"], ["muda"]]


def test_a_ladder_without_retrain_is_not_cut_short_by_a_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.request("s0")
    world.work()
    _due_in(monkeypatch, 1)
    key = world.request("s1", ladder=("muda", "distilled_recovery"))
    world.work()
    assert _tried(world, key) == ["muda"]


def test_the_first_deadline_of_a_group_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.request("s0")
    patient = world.request("s1")
    _due_in(monkeypatch, 5)
    urgent = world.request("s2")
    world.work()
    assert world.run_of(patient).id == world.run_of(urgent).id
    assert _tried(world, patient) == ["retrain"]


def test_the_time_of_earlier_pools_counts_where_one_is_wanted(world: World) -> None:
    world.request("s0", pool=True)
    world.work()
    with world.database.read() as session:
        [job] = session.scalars(select(Job).where(Job.kind == JobKind.POOL))
        assert job.started_at is not None
        assert job.finished_at is not None
        took = (job.finished_at - job.started_at).total_seconds()
        assert durations(session, world.model_id).pool == took > 0


LADDER: list[Rung] = [
    "muda",
    {"method": "distilled_recovery", "hyperparameters": {"keep": 0.25}},
    "retrain",
]


def test_a_climb_costs_all_rungs_above_every_audit_and_the_references() -> None:
    own = {"muda": 10.0, 'distilled_recovery {"keep":0.25}': 20.0, "retrain": 100.0}
    known = Durations(unlearning=own, audit=5.0, reference=90.0)
    whole = 10 + 20 + 100 + (2 + 2 + 1) * 5 + 39 * 90
    assert known.climb(LADDER, 0, [19, 39], 2) == whole
    assert known.climb(LADDER, 1, [19, 39], 2) == whole - 10 - 2 * 5
    assert known.climb(LADDER, 2, [19, 39], 2) == 100 + 5 + 19 * 90
    assert known.climb(LADDER, 1, [0], 1) == 20 + 100 + 2 * 5


def test_a_climb_counts_the_pool_that_a_rung_may_wait_for() -> None:
    known = Durations(unlearning={}, audit=5.0, reference=90.0, pool=300.0)
    costs = [known.climb(LADDER, rung, [19], 1) or 0 for rung in (0, 1)]
    assert known.climb(LADDER, 0, [19], 1, pool=True) == costs[0] + 300
    assert known.climb(LADDER, 1, [19], 1, pool=True) == costs[1], "the rungs left use none"


def test_a_rung_that_never_ran_counts_as_a_retraining() -> None:
    known = Durations(unlearning={"distilled_recovery": 1.0}, audit=5.0, reference=90.0)
    assert known.climb(LADDER, 0, [19], 1) == 3 * 90 + 3 * 5 + 19 * 90


@pytest.mark.parametrize(
    ("audit", "reference", "own"),
    [(None, 90.0, {}), (5.0, None, {}), (5.0, None, {"retrain": 1.0})],
)
def test_without_history_nothing_is_known_of_a_climb(
    audit: float | None, reference: float | None, own: dict[str, float]
) -> None:
    known = Durations(unlearning=own, audit=audit, reference=reference)
    assert known.climb(LADDER, 0, [19], 1) is None
