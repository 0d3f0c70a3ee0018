"""The reply to a person: plain words that never say more than was measured."""

import re
from dataclasses import replace
from typing import Any

import pytest

from service.ledger.report_context import ReportContext
from service.pages.reply import as_page, as_text, reply, reply_unfinished
from service.pages.view import VERDICTS
from service.reports import build_statement

JARGON = re.compile(
    r"λ|lambda|AUC|conformal|joint test|reference[sd]?\b(?<!Your reference)|metric|rung|sha-?256|"
    r"muda|distilled|hyper|digest|policy|candidate|FAIL|PASS|INCONCLUSIVE",
)
PROMISES = re.compile(r"\b(erased|deleted|anonymi[sz]ed|guarante|prove[sn]|certain|impossible)\b")


def told(context: ReportContext, **changes: Any) -> str:  # noqa: ANN401 - fields of the context
    """Return the reply to a context as text in one line."""
    statement = build_statement(replace(context, **changes))
    return " ".join(as_text(reply(statement)).split())


@pytest.mark.parametrize("verdict", list(VERDICTS))
@pytest.mark.parametrize("measured", [True, False])
def test_it_is_plain_and_promises_nothing(
    report_context: ReportContext, verdict: str, *, measured: bool
) -> None:
    audit = report_context.audit if measured else None
    text = told(report_context, verdict=verdict, audit=audit)
    assert not JARGON.search(text), JARGON.search(text)
    assert not PROMISES.search(text), PROMISES.search(text)
    assert "What this does not tell you" in text
    assert "130 items" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("verdict", "says", "never"),
    [
        ("PASS", "could not be told apart from 19 models", "from the start"),
        ("NOTHING_TO_REMOVE", "the model was left as it was", "was changed"),
        ("RETRAINED", "It is not the result of a measurement", "told apart"),
        ("QUALIFIED", "Your own request rests on those trials", "could not be told apart"),
        ("INCONCLUSIVE", "cannot tell you that it is", "was changed"),
        ("FAIL", "cannot tell you that its influence is gone", "could not be told apart"),
    ],
)
def test_each_verdict_has_its_own_words(
    report_context: ReportContext, verdict: str, says: str, never: str
) -> None:
    text = told(report_context, verdict=verdict)
    assert says in text
    assert never not in text


def test_a_pass_names_its_bound_and_none_that_was_not_measured(
    report_context: ReportContext, audit_result: dict[str, Any]
) -> None:
    assert "it lies at 0.17 at most, with 95 % confidence" in told(report_context)
    unbounded = {**audit_result, "influence": None}
    assert "on a scale" not in told(report_context, audit=unbounded).lower()


@pytest.mark.parametrize(
    ("found", "says"), [("FAIL", "did find a difference"), ("INCONCLUSIVE", "did not settle")]
)
def test_a_retraining_that_an_audit_does_not_confirm_says_so(
    report_context: ReportContext, audit_result: dict[str, Any], found: str, says: str
) -> None:
    audit = {**audit_result, "verdict": found}
    assert says in told(report_context, verdict="RETRAINED", audit=audit)
    assert says not in told(report_context, verdict="RETRAINED", audit=audit_result)


def test_it_says_what_is_left_and_until_when(report_context: ReportContext) -> None:
    text = told(report_context)
    assert "2 files that were made with your data still exist" in text
    assert "23 December 2026" in text
    assert "removed by hand" in text
    clean = tuple(copy for copy in report_context.residual_copies if not copy.contains)
    assert "No file that was made with your data is left" in told(
        report_context, residual_copies=clean
    )


def test_what_a_legal_hold_keeps_has_no_date(report_context: ReportContext) -> None:
    held = tuple(replace(copy, until=None, held=True) for copy in report_context.residual_copies)
    text = told(report_context, residual_copies=held)
    assert "Those that a legal hold keeps go when that has ended." in text
    assert "go by" not in text
    assert "by hand" not in text


def test_a_qualified_reply_tells_how_often_the_trials_went_well(
    report_context: ReportContext,
) -> None:
    statement = build_statement(replace(report_context, verdict="QUALIFIED"))
    kinds = {"class": {"trials": 10, "passes": 9}, "mislabelled": {"trials": 5, "passes": 5}}
    statement["predicate"]["qualification"] = {"kinds": kinds}
    assert "In 15 trials with other data it stood the comparison 14 times" in " ".join(
        reply(statement)
    )


def test_what_must_be_known_before_the_figures_is_in_the_reply_too(
    report_context: ReportContext,
) -> None:
    statement = build_statement(report_context)
    statement["predicate"]["notices"] = ["Two copies are left."]
    assert "Please note: Two copies are left." in reply(statement)


def test_a_late_reply_admits_it(report_context: ReportContext) -> None:
    due = report_context.subject.received_at
    late = replace(report_context.subject, due_at=due)
    assert "we are late" in told(report_context, subject=late)
    assert "before the deadline" in told(report_context)


FAILED: dict[str, Any] = {
    "reference": "DSR-1",
    "submitted_time": "2026-11-17T09:05:00+00:00",
    "received_at": "2026-11-19T14:30:00+00:00",
    "completed_at": "2026-12-23T08:41:00+00:00",
    "due_at": "2026-12-17T09:05:00+00:00",
    "within_deadline": False,
    "samples": {"count": 1},
    "reason": "No recipe is registered.",
}


def test_a_failed_request_is_told_as_failed() -> None:
    text = " ".join(as_text(reply_unfinished(FAILED)).split())
    assert "We could not remove the influence" in text
    assert "No recipe is registered." in text
    assert "1 item of" in text
    assert "supervisory authority" in text
    assert not PROMISES.search(text)


def test_what_others_wrote_stays_text() -> None:
    hostile = {**FAILED, "reference": "<img src=x onerror=y>\n\nDear\u202e judge\x07"}
    page = as_page(reply_unfinished(hostile))
    assert "<img" not in page.html
    assert "&lt;img" in page.html
    first = as_text(reply_unfinished(hostile)).split("\n\n")[0]
    assert first == "Your reference: <img src=x onerror=y> Dear judge"
    assert page.content_security_policy.startswith("default-src 'none'")


def test_the_same_statement_gives_the_same_reply(report_context: ReportContext) -> None:
    assert told(report_context) == told(report_context)
    lines = as_text(reply(build_statement(report_context))).splitlines()
    assert max(map(len, lines)) <= 78
