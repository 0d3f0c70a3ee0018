"""What a request may ask for, what it promises, and what its report is told."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service import ledger
from service.commitment import merkle_root
from service.errors import Conflict, NotFound, ServiceError, Unprocessable
from service.ledger import Caller, RequestOrder, due_at
from service.tables import Audit, JobKind, Report
from tests.service.ledger.answers import digest
from tests.service.ledger.world import LOOKS, World


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ((2026, 11, 23), (2026, 12, 23)),
        ((2026, 1, 31), (2026, 2, 28)),
        ((2028, 1, 30), (2028, 2, 29)),
        ((2026, 12, 31), (2027, 1, 31)),
        ((2026, 5, 31), (2026, 6, 30)),
    ],
)
def test_a_request_is_due_one_calendar_month_after_it_came(
    received: tuple[int, int, int], due: tuple[int, int, int]
) -> None:
    assert due_at(datetime(*received, 10, tzinfo=UTC)) == datetime(*due, 10, tzinfo=UTC)


def test_californian_law_gives_forty_five_days() -> None:
    start = datetime(2026, 11, 23, tzinfo=UTC)
    assert due_at(start, "ccpa") - start == timedelta(days=45)


@pytest.mark.parametrize(
    ("sample_ids", "order", "code"),
    [
        ([], {}, "no_samples"),
        (["s0", "s1", "s0"], {}, "repeated_samples"),
        (["s0", "nobody", "x"], {}, "unknown_samples"),
        (["s0", "h1"], {}, "not_training_samples"),
        (["s0"], {"policy": "lenient"}, "unknown_policy"),
        (["s0"], {"regulation": "lex"}, "unknown_regulation"),
        (["s0"], {"audit": "maybe"}, "unknown_audit"),
        (["s0"], {"ladder": []}, "bad_ladder"),
        (["s0"], {"ladder": ["muda", "muda"]}, "bad_ladder"),
        (["s0"], {"ladder": ["retrain", "muda"]}, "bad_ladder"),
        (["s0"], {"ladder": ["magic"]}, "unknown_method"),
        (["s0"], {"ladder": ["muda"], "audit": "none"}, "retrain_required"),
        ([f"s{i}" for i in range(12)], {}, "nothing_left"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_changes_nothing(
    world: World, sample_ids: list[str], order: dict[str, Any], code: str
) -> None:
    with pytest.raises(Unprocessable) as caught:
        world.request(*sample_ids, **order)
    assert (caught.value.status_code, caught.value.code) == (422, code)
    assert caught.value.errors
    assert world.erased() == set()
    assert world.dispatch() == []


def test_unknown_samples_are_counted_and_pointed_at_but_not_named(world: World) -> None:
    with pytest.raises(Unprocessable) as caught:
        world.request("s0", *(f"secret{i}" for i in range(20)))
    assert caught.value.extensions == {"count": 20}
    assert [error["pointer"] for error in caught.value.errors][:2] == [
        "/sample_ids/1",
        "/sample_ids/2",
    ]
    assert len(caught.value.errors) == 10
    assert "secret" not in f"{caught.value} {caught.value.errors}"


def test_a_sample_can_be_erased_once_for_each_model(world: World) -> None:
    world.request("s0", "s1")
    with pytest.raises(Conflict) as open_twice:
        world.request("s1", "s2")
    assert (open_twice.value.code, open_twice.value.extensions) == (
        "already_requested",
        {"count": 1},
    )
    world.work()
    with pytest.raises(Conflict) as erased_twice:
        world.request("s0", "s1", "s2")
    assert (erased_twice.value.code, erased_twice.value.extensions) == (
        "already_erased",
        {"count": 2},
    )
    with world.database.write() as session:
        other = ledger.register_model(session, world.caller, world.model_draft(name="other"))
        order = RequestOrder(model_id=other.id, sample_ids=["s0"])
        assert ledger.open_request(session, world.caller, order).status == "pending"


def test_a_model_without_a_recipe_takes_no_request(world: World) -> None:
    with world.database.write() as session:
        draft = replace(world.model_draft(name="bare"), recipe=None)
        bare = ledger.register_model(session, world.caller, draft)
    with pytest.raises(Unprocessable) as caught:
        world.request_for(bare.id, "s0")
    assert caught.value.code == "recipe_required"


def test_everything_of_another_tenant_is_not_found(world: World) -> None:
    request_id = world.request("s0")
    world.work()
    stranger = Caller(uuid.uuid4(), "key:else")
    with world.database.read() as session:
        run_id = ledger.get_request(session, world.caller, request_id).run_id
        assert run_id is not None
        looks: list[tuple[Callable[..., object], *tuple[object, ...]]] = [
            (ledger.get_dataset, world.dataset_id),
            (ledger.get_model, world.model_id),
            (ledger.get_request, request_id),
            (ledger.get_run, run_id),
            (ledger.list_versions, world.model_id),
            (ledger.get_version, world.model_id, 1),
            (ledger.list_samples, world.dataset_id),
            (ledger.report_of_request, request_id),
        ]
        for look, *arguments in looks:
            with pytest.raises(NotFound):
                look(session, stranger, *arguments)
        assert ledger.list_requests(session, stranger).items == []
        assert ledger.list_events(session, stranger).items == []


def test_the_commitment_binds_the_ids_and_hides_them(world: World) -> None:
    request_id = world.request("s3", "s1")
    request = world.get(request_id)
    assert request.commitment_salt is not None
    assert len(request.commitment_salt) == 32
    assert request.commitment_root == merkle_root(request.commitment_salt, ["s1", "s3"])
    again = world.request("s2")
    assert world.get(again).commitment_salt != request.commitment_salt


def test_the_report_is_told_all_that_it_needs_and_nothing_of_others(world: World) -> None:
    world.request("s9")
    pair = [world.request("s0", subject_request_id="DSR-1"), world.request("s1")]
    world.work()
    context = next(c for c in world.contexts if c.subject.id == pair[0])
    assert context.subject.subject_request_id == "DSR-1"
    assert (context.base.number, context.candidate.number) == (2, 3)
    assert (context.candidate.state, context.promoted) == ("current", True)
    assert (context.num_train, context.num_retain, context.num_erased) == (12, 9, 3)
    assert [row.seed for row in context.references] == [1000 + i for i in range(LOOKS[0])]
    assert context.method is not None
    assert context.method["name"] == "muda"
    assert set(context.tries[0]["audits"]) == {str(pair[0])}
    assert context.figures[0]["sha256"] == digest("audit-bars")
    assert context.log.seq > 0
    copies = {(copy.what, copy.name): copy for copy in context.residual_copies}
    assert copies["version", "version 1"].contains
    dates = [copies["version", f"version {n}"].until or "" for n in (1, 2)]
    hour = copies["reference", "reference with seed 1000"].until or ""
    assert "" < hour < dates[0] < dates[1]
    assert ("version", "version 3") not in copies
    assert not copies["reference", "reference with seed 1000"].contains
    shown = repr(context)
    assert str(pair[1]) not in shown
    assert "s0" not in shown.replace("sha256", "")


def test_a_report_keeps_the_signed_bytes(world: World) -> None:
    request_id = world.request("s0")
    world.work()
    with world.database.read() as session:
        report = ledger.report_of_request(session, world.caller, request_id)
        assert ledger.get_report(session, world.caller, report.id).verdict == "PASS"
    assert hashlib.sha256(report.envelope).hexdigest() == report.sha256


def test_requests_are_listed_newest_first_page_by_page(world: World) -> None:
    made = [world.request(f"s{i}") for i in range(5)]
    with world.database.read() as session:
        first = ledger.list_requests(session, world.caller, limit=2)
        second = ledger.list_requests(session, world.caller, cursor=first.next_cursor, limit=2)
        last = ledger.list_requests(session, world.caller, cursor=second.next_cursor, limit=2)
        seen = [row.id for page in (first, second, last) for row in page.items]
        assert seen == made[::-1]
        assert last.next_cursor is None
        waiting = ledger.list_requests(session, world.caller, status="pending")
        assert [row.id for row in waiting.items] == made[:0:-1]
        assert ledger.list_requests(session, world.caller, overdue=True).items == []
        assert len(ledger.list_requests(session, world.caller, overdue=False).items) == 5
        with pytest.raises(ServiceError, match="cursor"):
            ledger.list_requests(session, world.caller, cursor="x")


def test_progress_goes_from_waiting_to_completed(world: World) -> None:
    first, second = world.request("s0"), world.request("s1")

    def shown(key: uuid.UUID) -> tuple[str, int]:
        with world.database.read() as session:
            progress = ledger.progress_of(session, ledger.get_request(session, world.caller, key))
        return progress.phase, progress.percent

    assert shown(second) == ("waiting", 0)
    assert shown(first) == ("unlearning", 0)
    claim = world.hold(JobKind.AUDIT)
    phase, percent = shown(first)
    assert phase == "auditing"
    assert 80 < percent < 100
    world.finish(claim)
    assert shown(first) == ("completed", 100)


def test_an_audit_of_foreign_weights_erases_nothing_and_gets_a_report(world: World) -> None:
    world.request("s0")
    world.work()
    audit_id = world.audit("s3", "s6")
    world.work("FAIL")
    [audit] = world.all(Audit)
    assert (audit.id, audit.status, audit.verdict) == (audit_id, "completed", "FAIL")
    assert world.erased() == {0}
    assert world.current().number == 2
    handed = world.handed[-1]
    assert handed.spec["candidate_key"] == World.key("foreign")
    assert handed.roles["0.png"] == "erased"
    assert handed.roles["3.png"] == handed.roles["6.png"] == "forget"
    trained = [h for h in world.handed if h.kind == "reference"][-1]
    assert set(trained.roles) == {f"{i}.png" for i in range(12) if i not in (0, 3, 6)}
    with world.database.read() as session:
        report = ledger.report_of_audit(session, world.caller, audit_id)
    assert (report.verdict, report.request_id) == ("FAIL", None)
    assert world.contexts[-1].subject.label == "vendor"


def test_an_inconclusive_audit_looks_again_before_it_reports(world: World) -> None:
    world.audit("s3", policy="standard")
    world.work("INCONCLUSIVE")
    [audit] = world.all(Audit)
    assert (audit.look, audit.verdict) == (2, "INCONCLUSIVE")
    assert len(world.references()) == LOOKS[1]


def test_an_audit_whose_job_fails_says_why(world: World) -> None:
    world.audit("s3")
    assert world.fail(world.hold(JobKind.AUDIT), code="weights_mismatch")
    [audit] = world.all(Audit)
    assert (audit.status, audit.reason_code) == ("failed", "weights_mismatch")
    assert world.all(Report) == []


def test_an_audit_can_name_an_older_base(world: World) -> None:
    world.request("s0")
    world.work()
    world.audit("s3", base_version=1)
    world.work()
    assert world.handed[-1].spec["original_sha256"] == digest("net-1")
    with pytest.raises(NotFound):
        world.audit("s4", base_version=9)
