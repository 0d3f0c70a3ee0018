"""Trial erasures: what they are given, how they count, and that they erase nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from service import ledger
from service.database import Database
from service.errors import Conflict, NotFound, ServiceError, Unprocessable
from service.keys import ensure_tenant
from service.ledger import Caller
from service.ledger.trials import wilson
from service.tables import Job, JobKind, JobStatus, QualificationTrial, Reference
from tests.service.ledger.answers import trial_answer
from tests.service.ledger.world import LOOKS, World


def _trials(world: World) -> list[QualificationTrial]:
    return world.all(QualificationTrial)


def _actions(world: World) -> list[str]:
    with world.database.read() as session:
        return [e.action for e in ledger.list_events(session, world.caller, limit=1000).items]


def test_trials_that_pass_make_a_live_qualification_with_its_rate_and_interval(
    world: World,
) -> None:
    key = world.qualify(trials=4)
    assert world.qualification(key).state == "running"
    assert world.work("PASS") == 4
    row = world.qualification(key)
    assert (row.state, row.method_version, row.hyperparameters) == ("live", "1", {})
    assert set(row.results or {}) == {"class", "mislabelled"}
    found = (row.results or {})["class"]
    assert (found["trials"], found["passes"], found["rate"]) == (2, 2, 1.0)
    assert found["interval"] == pytest.approx(wilson(2, 2))
    assert found["verdicts"] == {"PASS": 2}
    assert row.base_version_id == world.current().id
    assert row.decided_at is not None
    assert row.num_references == LOOKS[0]


def test_trials_erase_nothing_and_leave_nothing_behind(world: World) -> None:
    world.qualify()
    before = world.current().id
    world.work("PASS")
    assert world.erased() == set()
    assert world.current().id == before
    assert world.all(Reference) == []
    assert [trial.result["references"] for trial in _trials(world)]  # type: ignore[index]


def test_a_class_trial_leaves_a_whole_class_out_of_the_registered_version(world: World) -> None:
    world.qualify(kinds=("class",), trials=3)
    world.work("PASS")
    trials = [handed for handed in world.handed if handed.kind == JobKind.TRIAL]
    left_out = []
    for handed in trials:
        forgotten = {int(uri[:-4]) for uri, role in handed.roles.items() if role == "forget"}
        assert len({number % 3 for number in forgotten}) == 1
        assert len(forgotten) == 4
        assert handed.spec["original_key"] == world.key("net-1")
        assert set(handed.roles.values()) == {"retain", "forget", "holdout"}
        left_out.append(min(forgotten) % 3)
    assert sorted(left_out) == [0, 1, 2]


def test_a_trial_with_planted_labels_trains_its_own_original(world: World) -> None:
    world.qualify(kinds=("mislabelled",))
    world.work("PASS")
    specs = [handed.spec for handed in world.handed if handed.kind == JobKind.TRIAL]
    assert all("original_key" not in spec for spec in specs)
    seeds = [
        seed
        for spec in specs
        for seed in (spec["seed"], spec["original_seed"], *spec["reference_seeds"])
    ]
    assert len(set(seeds)) == len(seeds) == 2 * (2 + LOOKS[0])
    assert [trial.label for trial in _trials(world)] == [None, None]


def test_what_is_in_e_takes_part_in_no_trial(world: World) -> None:
    world.request("s0", "s1")
    world.work()
    world.qualify(trials=4)
    world.work("PASS")
    for handed in [h for h in world.handed if h.kind == JobKind.TRIAL]:
        assert {"0.png", "1.png"}.isdisjoint(handed.roles)


def test_the_same_seed_draws_the_same_trials(world: World) -> None:
    for _ in range(2):
        world.qualify(trials=4, seed=7)
    world.qualify(trials=4, seed=8)
    drawn = [(t.label, t.forget, t.seed) for t in _trials(world)]
    assert drawn[:4] == drawn[4:8] != drawn[8:]


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE", "NOTHING_TO_REMOVE"])
def test_whatever_is_no_pass_counts_against_the_method(world: World, verdict: str) -> None:
    key = world.qualify(trials=4)
    world.work(verdict)
    row = world.qualification(key)
    assert (row.state, row.reason_code) == ("unqualified", "trials_failed")
    assert [found["passes"] for found in (row.results or {}).values()] == [0, 0]


def test_one_kind_that_passes_is_enough_to_live(world: World) -> None:
    key = world.qualify()
    world.work(lambda kind: "PASS" if kind == "class" else "FAIL")
    assert world.qualification(key).state == "live"


def test_every_step_is_in_the_audit_log(world: World) -> None:
    key = world.qualify()
    world.work("PASS")
    own = [action for action in _actions(world) if action.startswith("qualification.")]
    assert own == [
        "qualification.opened",
        "qualification.tried",
        "qualification.tried",
        "qualification.live",
    ]
    with world.database.read() as session:
        assert ledger.verify_chain(session, world.caller.tenant_id).ok
        found = ledger.list_qualifications(session, world.caller, world.model_id).items
    assert [row.id for row in found] == [key]


def test_trials_run_side_by_side_and_the_last_one_decides(world: World) -> None:
    key = world.qualify()
    first, second = world.hold(JobKind.TRIAL, "a"), world.hold(JobKind.TRIAL, "b")
    assert world.finish(second)
    assert world.qualification(key).state == "running"
    assert world.finish(first)
    assert world.qualification(key).state == "live"


def test_a_lost_claim_changes_nothing_and_the_trial_is_done_again(world: World) -> None:
    key = world.qualify()
    lost = world.hold(JobKind.TRIAL)
    world.expire(lost.job_id)
    again = world.claim(lost.job_id, "other")
    assert again is not None
    assert not world.finish_late(lost)
    assert world.finish(again)
    world.work()
    assert world.qualification(key).state == "live"
    assert [trial.verdict for trial in _trials(world)] == ["PASS", "PASS"]


def test_a_trial_that_cannot_be_done_fails_the_qualification_and_stops_the_others(
    world: World,
) -> None:
    key = world.qualify()
    assert world.fail(world.hold(JobKind.TRIAL), code="out_of_disk")
    row = world.qualification(key)
    assert (row.state, row.reason_code) == ("failed", "out_of_disk")
    assert "trial" in str(row.reason)
    assert {job.status for job in world.all(Job) if job.kind == JobKind.TRIAL} == {
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    }
    assert world.work() == 0


def test_trials_of_different_versions_of_a_method_are_not_added_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = world.qualify()
    world.finish(world.hold(JobKind.TRIAL))

    def updated(spec: dict[str, Any], verdict: str) -> dict[str, Any]:
        method = {"name": spec["method"], "version": "2", "hyperparameters": {}}
        return trial_answer(spec, verdict) | {"method": method}

    monkeypatch.setattr("tests.service.ledger.answers.trial_answer", updated)
    world.work()
    assert (world.qualification(key).state, world.qualification(key).reason_code) == (
        "failed",
        "method_changed",
    )


def test_a_worker_cannot_invent_a_verdict(world: World) -> None:
    world.qualify()
    with pytest.raises(ValueError, match="unknown verdict"):
        world.finish(world.hold(JobKind.TRIAL), "SPLENDID")


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"method": "retrain"}, "unknown_method"),
        ({"method": "magic"}, "unknown_method"),
        ({"kinds": ()}, "unknown_trial_kind"),
        ({"kinds": ("class", "class")}, "unknown_trial_kind"),
        ({"kinds": ("horoscope",)}, "unknown_trial_kind"),
        ({"trials": 1}, "too_few_trials"),
        ({"trials": 8}, "too_many_trials"),
        ({"policy": "none-such"}, "unknown_policy"),
    ],
)
def test_orders_that_make_no_sense_are_refused(
    world: World, order: dict[str, Any], code: str
) -> None:
    with pytest.raises(Unprocessable) as caught:
        world.qualify(**order)
    assert caught.value.code == code
    assert caught.value.errors[0]["pointer"].startswith("/")


def test_a_model_that_is_not_ready_cannot_be_qualified(database: Database) -> None:
    world = World(database)
    world.register(ready=False)
    with pytest.raises(Conflict) as caught:
        world.qualify()
    assert caught.value.code == "model_not_ready"


@pytest.mark.parametrize(
    "look",
    [
        lambda session, caller, world, key: ledger.get_qualification(
            session, caller, world.model_id, key
        ),
        lambda session, caller, world, _: ledger.list_qualifications(
            session, caller, world.model_id
        ),
    ],
)
def test_other_tenants_find_no_qualification(world: World, look: Callable[..., object]) -> None:
    key = world.qualify()
    with world.database.write() as session:
        other = Caller(ensure_tenant(session, "other").id, "key:other")
        with pytest.raises(NotFound):
            look(session, other, world, key)
        order = ledger.QualificationOrder(model_id=world.model_id, method="muda")
        with pytest.raises(ServiceError):
            ledger.open_qualification(session, other, order)


def test_progress_is_that_of_all_trials(world: World) -> None:
    key = world.qualify(trials=4)
    world.finish(world.hold(JobKind.TRIAL))
    claim = world.hold(JobKind.TRIAL)
    with world.database.write() as session:
        ledger.renew(session, claim, 60, {"phase": "trial", "step": 1, "total": 2, "detail": ""})
    with world.database.read() as session:
        row = ledger.get_qualification(session, world.caller, world.model_id, key)
        shown = ledger.qualification_progress_of(session, row)
    assert (shown.phase, shown.percent, shown.step, shown.total) == ("trials", 37, 1, 4)


@pytest.mark.parametrize(("successes", "n"), [(0, 3), (2, 2), (7, 10), (1, 1), (19, 20)])
def test_the_interval_solves_wilsons_equation(successes: int, n: int) -> None:
    share, z = successes / n, 1.959963984540054
    for end in wilson(successes, n):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(z * (end * (1 - end) / n) ** 0.5)
    low, high = wilson(successes, n)
    assert 0 <= low <= share <= high <= 1
