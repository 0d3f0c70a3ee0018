"""What a report says about copies: plain, in front, and never more than was looked for."""

from dataclasses import replace
from typing import Any

import pytest

from service.copy_words import copy_notices
from service.ledger import ReportContext
from service.pages import render_report
from service.reports import build_statement

NONE = {"byte_equal": 0, "near": 0, "in_holdout": 0, "included": 0}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (NONE, []),
        (NONE | {"included": 4}, []),
        (NONE | {"byte_equal": 1}, ["1 sample with the same picture", "have to be requested too"]),
        (NONE | {"near": 1200}, ["1,200 samples with nearly the same"]),
        (NONE | {"in_holdout": 1}, ["1 sample of the hold-out is a copy"]),
        (NONE | {"in_holdout": 2}, ["2 samples of the hold-out are copies"]),
        (NONE | {"near": None}, ["nobody compared pixels"]),
        (NONE | {"byte_equal": 3, "near": None}, ["3 samples", "nobody compared pixels"]),
        (None, ["Nobody looked for copies"]),
    ],
)
def test_a_notice_names_what_was_found_and_what_was_not_looked_for(
    found: dict[str, int | None] | None, says: list[str]
) -> None:
    notices = copy_notices(found)
    assert bool(notices) == bool(says)
    assert all(part in " ".join(notices) for part in says)


def test_copies_that_remain_head_the_limits_and_stand_on_the_first_page(
    report_context: ReportContext,
) -> None:
    found: dict[str, Any] = NONE | {"near": 2}
    statement = build_statement(replace(report_context, near_duplicates=found))
    predicate = statement["predicate"]
    assert predicate["near_duplicates"] == found
    assert predicate["limits"][0] == predicate["notices"][0] == copy_notices(found)[0]
    html = render_report(statement, "SHA256:test").html
    first_page = html[html.index('id="officer"') : html.index('id="auditor"')]
    assert "2 samples with nearly the same" in first_page


def test_a_statement_without_copies_says_so_by_numbers_alone(report_context: ReportContext) -> None:
    statement = build_statement(replace(report_context, near_duplicates=dict(NONE)))
    assert statement["predicate"]["notices"] == []
    assert statement["predicate"]["near_duplicates"] == NONE
