"""Rungs with hyper-parameters: terms of a run, seeds, tries, and what is refused."""

import pytest

from service.errors import Conflict, Unprocessable
from service.ledger.starting import CODES
from service.tables import JobKind
from tests.service.ledger.world import World


def _rung(**given: object) -> dict[str, object]:
    return {"method": "muda", "hyperparameters": given}


def _specs(world: World) -> list[dict[str, object]]:
    return [handed.spec for handed in world.handed if handed.kind == "unlearn"]


def test_hyperparameters_reach_the_worker_the_tries_and_the_report(world: World) -> None:
    request_id = world.request("s0", ladder=[_rung(epochs=4), "retrain"])
    world.work()
    assert _specs(world)[0]["hyperparameters"] == {"epochs": 4}
    [entry] = world.run_of(request_id).tries
    assert (entry["method"], entry["hyperparameters"]) == ("muda", {"epochs": 4})
    assert world.contexts[-1].ladder == (_rung(epochs=4), "retrain")
    assert world.contexts[-1].tries[0]["hyperparameters"] == {"epochs": 4}


def test_only_requests_with_the_same_hyperparameters_share_a_run(world: World) -> None:
    world.request("s0")
    ladders = [["muda"], [_rung(alpha=3)], [_rung(alpha=2)], [_rung(alpha=2.0, beta=3)]]
    waiting = [world.request(f"s{n}", ladder=ladder) for n, ladder in enumerate(ladders, 1)]
    world.work()
    runs = [world.run_of(key).id for key in waiting]
    assert runs[0] == runs[1], "defaults that are spelled out are still the defaults"
    assert runs[2] == runs[3]
    assert runs[0] != runs[2]


def test_other_hyperparameters_give_another_seed_and_defaults_spelled_out_do_not(
    world: World,
) -> None:
    for given in ({}, {"alpha": 3}, {"alpha": 2}):
        world.request("s0", ladder=[_rung(**given)])
        world.work("FAIL")
    seeds = [spec["seed"] for spec in _specs(world)]
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize(
    ("ladder", "code", "pointer"),
    [
        ([_rung(gamma=1)], "bad_hyperparameters", "/ladder/0/hyperparameters/gamma"),
        (["finetune", _rung(alpha=-1)], "bad_hyperparameters", "/ladder/1/hyperparameters/alpha"),
        ([_rung(**{"a/b": 1})], "bad_hyperparameters", "/ladder/0/hyperparameters/a~1b"),
        (["muda", _rung(alpha=2)], "bad_ladder", "/ladder"),
        (["muda", "acme"], "unknown_method", "/ladder/1"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused_at_the_door(
    world: World, ladder: list[object], code: str, pointer: str
) -> None:
    with pytest.raises(Unprocessable) as caught:
        world.request("s0", ladder=ladder)
    assert caught.value.code == code
    assert caught.value.errors[0]["pointer"] == pointer
    assert world.erased() == set()


def test_a_declared_plugin_may_be_named_and_qualified(world: World) -> None:
    request_id = world.request("s0", ladder=["acme", "retrain"], plugins=["acme"])
    qualification = world.qualify("acme", plugins=["acme"])
    world.work()
    assert [entry["method"] for entry in world.run_of(request_id).tries] == ["acme"]
    assert world.qualification(qualification).method == "acme"
    with pytest.raises(Unprocessable, match="Methods that can be qualified are"):
        world.qualify("magic", plugins=["acme"])


def test_no_qualification_speaks_for_other_hyperparameters(world: World) -> None:
    world.qualify("muda")
    world.work()
    with pytest.raises(Conflict) as caught:
        world.request("s0", audit="qualified", ladder=[_rung(alpha=2), "retrain"])
    assert caught.value.code == "qualification_missing"
    world.request("s0", audit="qualified", ladder=["muda", "retrain"])


@pytest.mark.parametrize("code", ["non_finite_loss", "method_not_usable", "invalid_problem"])
def test_a_method_that_cannot_do_it_is_noted_and_the_run_climbs(world: World, code: str) -> None:
    request_id = world.request("s0")
    assert world.fail(world.hold(JobKind.UNLEARN), "usage", code)
    world.work()
    [note] = world.run_of(request_id).passed_over
    assert note == {"rung": 0, "method": "muda", "code": code, "detail": "It broke."}
    assert world.contexts[-1].start == {"rung": 0, "reason": None}
    assert world.contexts[-1].passed_over == (note,)
    assert code not in CODES


@pytest.mark.parametrize(
    ("code", "reason_code"),
    [("method_not_usable", "method_not_usable"), ("non_finite_loss", "no_rung_left")],
)
def test_a_method_that_cannot_do_it_on_the_last_rung_fails_the_request_with_the_reason(
    world: World, code: str, reason_code: str
) -> None:
    request_id = world.request("s0", ladder=["muda"])
    assert world.fail(world.hold(JobKind.UNLEARN), "usage", code)
    request = world.get(request_id)
    assert (request.status, request.reason_code) == ("failed", reason_code)
    assert "It broke." in str(request.reason)
    assert world.erased() == {0}
