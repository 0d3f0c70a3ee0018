"""A dry run prices a request from the model's own history and changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from service import ledger
from service.database import Database
from service.errors import ServiceError
from service.ledger import Price, RequestOrder
from service.tables import Base, Reference, ReferenceState
from tests.service.ledger.world import LOOKS, World

LADDER = ("muda", "retrain")


def price(world: World, *sample_ids: str, **order: Any) -> Price:  # noqa: ANN401 - fields of the order
    terms = {"policy": "standard", "ladder": LADDER, **order}
    wish = RequestOrder(model_id=world.model_id, sample_ids=sample_ids, **terms)
    with world.database.read() as session:
        return ledger.price_request(session, world.caller, wish)


def contents(database: Database) -> dict[str, list[Any]]:
    """Return every row of every table."""
    with database.read() as session:
        return {
            name: sorted(map(repr, session.execute(text(f"SELECT * FROM {name}"))))  # noqa: S608 - our own names
            for name in Base.metadata.tables
        }


@contextmanager
def untouched(world: World) -> Iterator[None]:
    before = contents(world.database)
    yield
    assert contents(world.database) == before


def test_without_history_times_are_unknown_and_all_else_is_told(world: World) -> None:
    with untouched(world):
        found = price(world, "s0", "s1")
    assert (found.num_samples, found.num_retain) == (2, 10)
    assert (found.scope, found.classes_emptied) == ("instance", [])
    assert [(rung.method, rung.unlearning, rung.audit) for rung in found.rungs] == [
        ("muda", None, None),
        ("retrain", None, None),
    ]
    assert (found.references_first_look, found.references_last_look) == tuple(LOOKS)
    assert (found.references_ready, found.reference, found.hours) == (0, None, None)
    assert not found.waits_for_run
    assert timedelta(0) <= ledger.due_at(found.priced_at) - found.due_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("sample_ids", "scope", "emptied"),
    [
        (("s0", "s3", "s6", "s9"), "class", ["a"]),
        (("s0", "s3", "s6", "s9", "s1"), "mixed", ["a"]),
        (("s0", "s3", "s6"), "instance", []),
        (("s0", "s3", "s6", "s9", "s1", "s4", "s7", "s10"), "class", ["a", "b"]),
    ],
)
def test_the_scope_is_that_of_the_classes_that_would_be_empty(
    world: World, sample_ids: tuple[str, ...], scope: str, emptied: list[str]
) -> None:
    found = price(world, *sample_ids)
    assert (found.scope, found.classes_emptied) == (scope, emptied)


def test_a_class_whose_rest_is_erased_already_would_be_empty(world: World) -> None:
    world.request("s0", "s3", "s6")
    assert price(world, "s9").scope == "class"


def test_times_are_those_of_this_models_jobs(world: World) -> None:
    world.request("s0", ladder=LADDER)
    world.work("FAIL")
    with world.database.write() as session:
        other = ledger.register_model(session, world.caller, world.model_draft(name="other"))
    found = price(world, "s1")
    muda, retrain = found.rungs
    assert muda.unlearning == ledger.Spread(1, 1.0, 1.0, 1.0)
    assert retrain.audit == ledger.Spread(1, 1.0, 1.0, 1.0)
    assert found.reference == ledger.Spread(LOOKS[0], 2.0, 2.0, 2.0)
    assert found.device == "cpu"
    assert found.hours is not None
    # the first rung and look: one unlearning, one audit, three references of two seconds
    assert found.hours.least == pytest.approx((2 + 3 * 2.0) / 3600)
    # muda with an audit at both looks, retrain with one, and the last look's references
    assert found.hours.most == pytest.approx((5 + 5 * 2.0) / 3600)
    wish = RequestOrder(model_id=other.id, sample_ids=["s1"], ladder=LADDER)
    with world.database.read() as session:
        assert ledger.price_request(session, world.caller, wish).hours is None


def test_a_pool_is_priced_where_it_would_be_made(world: World) -> None:
    assert not price(world, "s0").pool_needed
    found = price(world, "s0", pool=True)
    assert (found.pool_needed, found.pool) == (True, None)
    assert not price(world, "s0", "s3", "s6", "s9", pool=True).pool_needed  # a whole class
    world.request("s1", ladder=LADDER, pool=True)
    world.work("FAIL")
    without, found = price(world, "s0"), price(world, "s0", pool=True)
    assert found.pool == ledger.Spread(1, 9.0, 9.0, 9.0)
    assert without.hours is not None
    assert found.hours is not None
    assert found.hours.least == pytest.approx(without.hours.least + 9 / 3600)
    assert found.hours.most == pytest.approx(without.hours.most + 9 / 3600)


def test_references_that_fit_are_not_counted_again(world: World) -> None:
    request_id = world.request("s0", policy="standard")
    world.work("PASS", limit=1)
    world.cancel(request_id)
    # the retain set without s0 has references; asking for s0 again needs only what is missing
    assert price(world, "s0").references_ready == len(
        [row for row in world.references() if row.state == "ready"]
    )
    assert price(world, "s1").references_ready == 0


def test_only_references_that_a_look_would_use_are_counted(world: World) -> None:
    first = world.request("s0", policy="first-look", ladder=LADDER)
    world.work("PASS", limit=1)  # the references
    world.cancel(first)
    with world.database.write() as session:
        for row, (seed, state) in zip(
            session.query(Reference).order_by(Reference.seed),
            ((1000, "ready"), (1003, "ready"), (1001, "training")),
            strict=True,
        ):
            row.seed, row.state = seed, ReferenceState(state)
    found = price(world, "s0")
    assert (found.references_ready, LOOKS) == (2, [3, 5])
    found = price(world, "s0", policy="first-look")
    assert found.references_ready == 1


def test_a_request_that_would_wait_is_told_so(world: World) -> None:
    world.request("s0")
    assert price(world, "s1").waits_for_run


@pytest.mark.parametrize(
    ("sample_ids", "order"),
    [
        ([], {}),
        (["s0", "s0"], {}),
        (["nobody"], {}),
        (["h1"], {}),
        (["s9"], {}),
        (["s0"], {"policy": "lenient"}),
        (["s0"], {"regulation": "lex"}),
        (["s0"], {"audit": "qualified"}),
        (["s0"], {"ladder": ("retrain", "muda")}),
        (["s0"], {"ladder": ("muda",), "audit": "none"}),
        (["s0"], {"subject_request_id": "taken"}),
        ([f"s{i}" for i in range(9)] + ["s10", "s11"], {}),
    ],
)
def test_a_dry_run_refuses_what_the_request_would_be_refused_for(
    world: World, sample_ids: list[str], order: dict[str, Any]
) -> None:
    world.request("s9", subject_request_id="taken")
    with pytest.raises(ServiceError) as real:
        world.request(*sample_ids, **{"policy": "standard", "ladder": LADDER, **order})
    with untouched(world), pytest.raises(ServiceError) as dry:
        price(world, *sample_ids, **order)
    assert (dry.value.code, dry.value.errors, dry.value.extensions) == (
        real.value.code,
        real.value.errors,
        real.value.extensions,
    )
