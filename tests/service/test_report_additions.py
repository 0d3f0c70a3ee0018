"""What some reports have besides: the pool, and the comparison with a closed request's report."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from service.ledger.report_context import PoolFacts, ReportContext
from service.renderings import SignedFile, schema
from service.reports import build_statement, publish
from service.signing import load_signer

MEAN = {"mean": 0.41, "interval": [0.2, 0.62]}
MADE = {"models": 11, "rounds": 1, "trained_on": 1297, "groups": 640, "seed": 77, "seconds": 241.0}
TRIAGE = {"n": 130, "memorised": MEAN, "recognised": {"mean": 0.83, "interval": None}}
COMPARISON: dict[str, Any] = {
    "reproduced": False,
    "exact": False,
    "tolerance": 1e-3,
    "compared": 212,
    "differences": [
        {"figure": "audit.parts.class.metrics.da.candidate", "recorded": 0.883, "found": 0.871},
        {"figure": "verdict", "recorded": "PASS", "found": None, "note": "not found again"},
    ],
    "not_compared": [{"figure": "near_duplicates.near", "why": "nobody searched for copies"}],
    "references": {"seeds": [1000, 1001, 1002], "other_weights": [1002]},
}


def about(comparison: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": "019a0c4e-0000-7000-8000-00000000beef",
        "purpose": "reproduction" if comparison else "upgrade",
        "verdict": "PASS",
        "report_sha256": hashlib.sha256(b"report").hexdigest(),
        "comparison": comparison,
    }


def rendered(context: ReportContext, tmp_path: Path) -> SignedFile:
    """Return the signed report of a context; its statement fits the schema."""
    signer = load_signer(tmp_path / "signing.pem", create=True)
    report = SignedFile(publish(context, signer).envelope, {})
    validator = jsonschema.Draft202012Validator(json.loads(schema()))
    assert [error.message for error in validator.iter_errors(report.statement)] == []
    return report


def pool(**changes: Any) -> PoolFacts:  # noqa: ANN401 - fields of the facts
    values: dict[str, Any] = {
        "made": MADE,
        "triage": TRIAGE,
        "supplied_targets": True,
        "reason": None,
    }
    return PoolFacts(**(values | changes))


def test_the_engineers_part_shows_the_pool_as_deciding_nothing(
    report_context: ReportContext, tmp_path: Path
) -> None:
    report = rendered(replace(report_context, pool=pool()), tmp_path)
    assert report.statement["predicate"]["pool"]["decides"] is False
    html = report.page.html
    engineer = html[html.index('id="engineer"') :]
    for shown in ("They decide nothing", "11, seed 77", "0.410", "0.200 … 0.620", "0.830"):
        assert shown in engineer
        assert shown not in html.replace(engineer, "")
    assert report.pdf == rendered(replace(report_context, pool=pool()), tmp_path).pdf


def test_a_report_says_why_a_pool_could_not_be_made(
    report_context: ReportContext, tmp_path: Path
) -> None:
    failed = pool(made=None, triage=None, supplied_targets=False, reason="a group of 400 samples")
    html = rendered(replace(report_context, pool=failed), tmp_path).page.html
    assert "the run went on without: a group of 400 samples" in html


def test_a_report_without_a_pool_says_nothing_of_one(
    report_context: ReportContext, tmp_path: Path
) -> None:
    report = rendered(report_context, tmp_path)
    assert "pool" not in report.statement["predicate"]
    assert "Pool of models" not in report.page.html


def test_a_reproductions_page_shows_every_figure_that_differs(
    report_context: ReportContext, tmp_path: Path
) -> None:
    html = rendered(replace(report_context, of_request=about(COMPARISON)), tmp_path).page.html
    for shown in (
        "2 of 212 figures were not found again",
        "audit · parts · class · metrics · da · candidate",
        "0.883",
        "0.871",
        "not found again",
        "1 figure could not be compared",
        "nobody searched for copies",
        "1 of them other weights than then",
        "019a0c4e-0000-7000-8000-00000000beef",
    ):
        assert shown in html
    assert html.count("019a0c4e-0000-7000-8000-00000000beef") == 1


@pytest.mark.parametrize("exact", [True, False])
def test_a_reproduction_that_found_all_again_says_how_closely(
    report_context: ReportContext, tmp_path: Path, *, exact: bool
) -> None:
    found = COMPARISON | {"reproduced": True, "exact": exact, "differences": []}
    html = rendered(replace(report_context, of_request=about(found)), tmp_path).page.html
    assert "all 212 figures that can be compared were found again" in html
    assert ("They had to be identical" in html) is exact
    assert "Figures that differ" not in html


def test_an_upgrade_names_its_request_and_compares_nothing(
    report_context: ReportContext, tmp_path: Path
) -> None:
    html = rendered(replace(report_context, of_request=about(None)), tmp_path).page.html
    assert "an audit with references of a request that was closed without them" in html
    assert "The figures, made again" not in html


def test_the_same_statement_gives_the_same_page(
    report_context: ReportContext, tmp_path: Path
) -> None:
    context = replace(report_context, pool=pool(), of_request=about(COMPARISON))
    statement = build_statement(context)
    assert statement == build_statement(context)
    assert rendered(context, tmp_path).page == rendered(context, tmp_path).page
