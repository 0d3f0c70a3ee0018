"""An audit's role `erased` is what completed requests erased, and not all that was ever asked."""

import uuid
from collections.abc import Callable

import pytest

from service import ledger
from service.tables import JobKind
from tests.service.ledger.later import open_audit
from tests.service.ledger.world import World

LADDER = ("muda", "retrain")


def named(roles: dict[str, str], role: str) -> set[str]:
    return {uri for uri, given in roles.items() if given == role}


def hold(world: World, request_id: uuid.UUID) -> None:
    with world.database.write() as session:
        ledger.hold_request(session, world.caller, request_id, "legal_claims")


def withdraw(world: World, request_id: uuid.UUID) -> None:
    world.cancel(request_id)


def wait(_world: World, _request_id: uuid.UUID) -> None:
    """Let it wait for a run with its own terms."""


@pytest.mark.parametrize("leave", [hold, withdraw, wait])
def test_what_is_not_erased_yet_is_in_no_role(
    world: World, leave: Callable[[World, uuid.UUID], None]
) -> None:
    world.request("s9")
    terms = {} if leave is not wait else {"ladder": ("retrain",)}
    first, other = world.request("s0", ladder=LADDER), world.request("s1", **terms)
    leave(world, other)
    world.work("PASS", limit=5)
    while world.get(first).status != "completed":
        world.work("PASS", limit=1)
    run_id = world.run_of(first).id
    seen = [handed for handed in world.handed if handed.run_id == run_id]
    assert {handed.kind for handed in seen} == {"reference", "unlearn", "audit"}
    assert all("1.png" not in handed.roles for handed in seen)
    [audit] = [handed for handed in seen if handed.kind == "audit"]
    assert named(audit.roles, "erased") == {"9.png"}
    uris = list(audit.roles)
    assert {uris[position] for position in audit.spec["erased"]} == {"0.png", "9.png"}


def test_what_a_failed_request_named_is_erased_once_another_completes(world: World) -> None:
    world.request("s0", ladder=("muda",))
    world.work("FAIL")
    for sample, erased in (("s1", set()), ("s0", {"1.png"}), ("s2", {"0.png", "1.png"})):
        world.request(sample, ladder=LADDER)
        world.work("PASS")
        assert named(world.handed[-1].roles, "erased") == erased


def test_what_was_asked_of_another_model_is_not_erased_from_this_one(world: World) -> None:
    with world.database.write() as session:
        draft = world.model_draft(name="other")
        other = ledger.register_model(session, world.caller, draft).id
    world.work()
    world.request_for(other, "s5")
    world.work("PASS")
    world.request("s0")
    world.work("PASS")
    assert "5.png" not in world.handed[-1].roles


def test_a_later_audit_is_given_what_the_runs_own_was(world: World) -> None:
    world.request("s9")
    first = world.request("s0")
    later = world.request("s1", ladder=("retrain",))
    world.work("PASS")
    assert world.get(later).status == "completed"
    run_id = world.run_of(first).id
    [own] = [h for h in world.handed if h.run_id == run_id and h.kind == JobKind.AUDIT]
    open_audit(world, first)
    world.work("PASS")
    assert world.handed[-1].kind == "audit"
    assert world.handed[-1].roles == own.roles
    assert named(own.roles, "erased") == {"9.png"}
    assert "1.png" not in own.roles
