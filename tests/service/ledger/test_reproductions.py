"""Reproductions: the audit of a closed request made again and compared, figure by figure."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from service import ledger
from service.ledger.qualified import expire
from service.tables import Audit, AuditEvent, Job, JobKind, Qualification, Report
from tests.service.ledger import answers
from tests.service.ledger.later import (
    closed,
    compared,
    last_comparison,
    open_audit,
    qualified,
)
from tests.service.ledger.purges import purge
from tests.service.ledger.world import LOOKS, World

pytestmark = pytest.mark.usefixtures("measured")


def test_an_upgrade_takes_the_policys_next_look_and_a_reproduction_does_not(world: World) -> None:
    request_id = closed(world, audit="none", policy="standard", ladder=("retrain",))
    upgrade = open_audit(world, request_id)
    world.work("INCONCLUSIVE")
    with world.database.read() as session:
        assert ledger.get_audit(session, world.caller, upgrade).look == len(LOOKS)
    assert len(world.references()) == LOOKS[1]
    other = closed(world, "s1", policy="standard")
    before = len(world.all(Job))
    open_audit(world, other, "reproduction")
    world.work("INCONCLUSIVE")
    assert [job.kind for job in world.all(Job)[before:]] == ["audit"]


def test_a_reproduction_finds_what_was_signed(world: World) -> None:
    request_id = closed(world)
    found = compared(world, request_id)
    assert (found["reproduced"], found["exact"], found["tolerance"]) == (True, True, 0.0)
    assert (found["differences"], found["references"]["other_weights"]) == ([], [])
    assert found["references"]["seeds"] == [1000, 1001, 1002]
    assert found["compared"] > 100
    named = {entry["figure"] for entry in found["not_compared"]}
    assert named == {"figures.bars.sha256", "method", "tries", "near_duplicates.included"}
    assert world.all(Report)[1].statement["predicate"]["of_request"]["comparison"] == found
    with world.database.read() as session:
        [event] = session.query(AuditEvent).filter_by(action="audit.compared")
    assert event.payload["reproduced"] is True


def test_figures_that_come_out_otherwise_are_named_with_both_values(
    world: World, measured: dict[str, Any]
) -> None:
    request_id = closed(world)
    part = measured["parts"][0]
    part["metrics"][2]["candidate"] = 0.5
    part["metrics"][3]["references"]["mean"] += 1e-9
    part["joint_test"]["rank"] = 1
    part["influence"]["upper"] = None
    found = compared(world, request_id)
    assert found["reproduced"] is False
    told = {entry["figure"]: (entry["recorded"], entry["found"]) for entry in found["differences"]}
    base = "audit.parts.class"
    assert told.pop(f"{base}.metrics.da.candidate") == (0.883, 0.5)
    assert told.pop(f"{base}.metrics.log_rho.references.mean") == (-0.09, -0.09 + 1e-9)
    assert told.pop(f"{base}.joint_test.rank") == (9, 1)
    assert told.pop(f"{base}.influence.upper") == (0.17, None)
    # the fixture's λ of the whole is the very object of its only part
    assert {name.rpartition(".")[2] for name in told} <= {"upper"}


def test_of_two_entries_with_one_name_both_are_compared(
    world: World, measured: dict[str, Any]
) -> None:
    metrics = measured["parts"][0]["metrics"]
    metrics.append({**metrics[0]})
    request_id = closed(world)
    metrics[-1]["original"] = 0.5
    metrics[0]["original"] = 0.25
    told = [entry["figure"] for entry in compared(world, request_id)["differences"]]
    name = "audit.parts.class.metrics.accuracy.forget"
    assert told == [f"{name}.original", f"{name}#8.original"]


def test_a_verdict_that_comes_out_otherwise_is_named(world: World) -> None:
    request_id = closed(world)
    open_audit(world, request_id, "reproduction")
    world.work("FAIL")
    found = last_comparison(world)
    told = {entry["figure"]: (entry["recorded"], entry["found"]) for entry in found["differences"]}
    assert told == {"verdict": ("PASS", "FAIL"), "audit.verdict": ("PASS", "FAIL")}


def test_a_recorded_value_that_was_changed_is_named(world: World) -> None:
    request_id = closed(world)
    _tamper(world, lambda p: p["audit"]["parts"][0]["metrics"][2].update(candidate=0.872))
    found = compared(world, request_id)
    assert [entry["figure"] for entry in found["differences"]] == [
        "audit.parts.class.metrics.da.candidate"
    ]
    assert found["differences"][0]["recorded"] == 0.872


def test_on_other_library_versions_a_thousandth_is_tolerated_and_words_are_not_compared(
    world: World, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = closed(world)
    monkeypatch.setattr(answers, "ENVIRONMENT", answers.ENVIRONMENT | {"torch": "3"})
    metrics = measured["parts"][0]["metrics"]
    metrics[2]["candidate"] *= 1 + 5e-4
    metrics[0]["candidate"] = 1e-9
    metrics[1]["candidate"] *= 1 + 2e-3
    measured["reasons"] = ["Put otherwise."]
    del measured["parts"][0]["metrics"][7]
    found = compared(world, request_id)
    assert (found["exact"], found["tolerance"]) == (False, 1e-3)
    assert [entry["figure"] for entry in found["differences"]] == [
        "audit.parts.class.metrics.accuracy.retain.candidate"
    ]
    named = {entry["figure"] for entry in found["not_compared"]}
    assert {"reasons.0", "figures.bars.table.rows.0.0"} <= named
    assert "audit.parts.class.metrics.relearn.steps.candidate" in named


def test_a_figure_that_is_missing_on_the_same_machine_differs(
    world: World, measured: dict[str, Any]
) -> None:
    request_id = closed(world)
    del measured["utility"]["worst_class"]
    found = compared(world, request_id)
    assert not found["reproduced"]
    assert {entry["note"] for entry in found["differences"]} == {"not found again"}


def test_what_rests_on_a_qualification_is_reproduced_though_that_is_over(world: World) -> None:
    request_id = qualified(world)
    with world.database.write() as session:
        [row] = session.query(Qualification).all()
        expire(session, row, "policy_changed", "It is over.")
    found = compared(world, request_id)
    assert found["reproduced"], found["differences"]
    assert "qualification" in {entry["figure"] for entry in found["not_compared"]}
    audit = world.all(Audit)[-1]
    assert (audit.level, audit.verdict) == ("qualified", "INCONCLUSIVE")
    assert world.references() == []
    open_audit(world, request_id, "reproduction")
    world.work("FAIL")
    assert not last_comparison(world)["reproduced"]


def test_a_retrained_request_is_compared_by_its_attached_audit(world: World) -> None:
    request_id = closed(world, audit="none", ladder=("retrain",))
    found = compared(world, request_id)
    assert found["reproduced"], found["differences"]
    assert "verdict" in {entry["figure"] for entry in found["not_compared"]}


def test_purged_references_are_trained_again_and_other_weights_are_named(
    world: World, tmp_path: Path
) -> None:
    request_id = closed(world)
    assert len(purge(world, tmp_path, reference_grace_s=0)) == LOOKS[0]
    found = compared(world, request_id)
    assert [h.kind for h in world.handed[-2:]] == ["reference", "audit"]
    # made-up workers give every job's weights a digest of their own
    assert found["references"]["other_weights"] == [1000, 1001, 1002]
    assert (found["exact"], found["tolerance"]) == (False, 1e-3)


def test_a_reproduction_measures_again_instead_of_reading_the_cache(world: World) -> None:
    request_id = closed(world)
    purposes: tuple[tuple[ledger.AuditOfRequest, bool], ...]
    purposes = (("upgrade", True), ("reproduction", False))
    for purpose, cached in purposes:
        open_audit(world, request_id, purpose)
        claim = world.hold(JobKind.AUDIT)
        with world.database.read() as session:
            package = ledger.build_package(session, claim)
        assert (package.cache_key is not None) == cached
        assert world.finish(claim)


def _tamper(world: World, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a request's report says, in the envelope."""
    with world.database.write() as session:
        [report] = session.query(Report).all()
        envelope = json.loads(report.envelope)
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement["predicate"])
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        values = {"envelope": json.dumps(envelope).encode()}
        session.execute(update(Report).where(Report.id == report.id).values(**values))
