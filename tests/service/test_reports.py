"""Statements say what was measured and no more; pages are made from them alone."""

import hashlib
import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from service.errors import ServiceError
from service.ledger.report_context import ReportContext, SubjectFacts
from service.pages import VERDICTS, content_security_policy, render_report
from service.pages.charts import influence_scale
from service.report_words import verdict_sentence
from service.reports import build_statement, publish
from service.signing import load_signer

KEYID = "SHA256:" + "3f" * 32


def page(context: ReportContext, figures: dict[str, bytes] | None = None) -> str:
    """Return the page of a context."""
    return render_report(build_statement(context), KEYID, figures).html


def test_the_subject_is_the_new_weights(report_context: ReportContext) -> None:
    statement = build_statement(report_context)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://expunge.dev/unlearning-report/v1"
    digest = {"sha256": report_context.candidate.sha256}
    assert statement["subject"] == [{"name": "digits-classifier@2", "digest": digest}]


def test_a_statement_holds_everything_that_an_auditor_needs(
    report_context: ReportContext,
) -> None:
    predicate = build_statement(report_context)["predicate"]
    assert predicate["request"]["days_used"] == 3
    assert predicate["request"]["within_deadline"] is True
    assert predicate["request"]["samples"]["count"] == 130
    assert [attempt["verdict"] for attempt in predicate["tries"]] == ["FAIL", "PASS"]
    assert predicate["tries"][1]["influence"]["upper"] == 0.17
    assert predicate["method"]["class"] == "approximate"
    assert predicate["method"]["retrain_ratio_with_references"] == 19.4
    assert predicate["untouched_rejected"] is True
    assert predicate["policy"]["document"]["influence"]["limit"] == 0.33
    assert len(predicate["lineage"]["references"]) == 19
    assert predicate["audit_log"]["seq"] == 57
    assert "curves" not in predicate["audit"]
    assert any("anonymous" in sentence for sentence in predicate["what_this_does_not_prove"])


def test_a_statement_is_plain_json_and_the_same_each_time(report_context: ReportContext) -> None:
    statement = build_statement(report_context)
    assert json.loads(json.dumps(statement, allow_nan=False)) == statement
    assert build_statement(report_context) == statement


def test_other_requests_of_the_run_are_not_in_it(report_context: ReportContext) -> None:
    foreign = "019a0c4e-0000-7000-8000-00000000beef"
    tries = tuple(
        {**attempt, "audits": {**attempt["audits"], foreign: {"verdict": "FAIL"}}}
        for attempt in report_context.tries
    )
    assert foreign not in json.dumps(build_statement(replace(report_context, tries=tries)))


@pytest.mark.parametrize(
    ("verdict", "says", "never"),
    [
        ("PASS", "could not be told apart from 19 models", "erased|deleted|proves|certain"),
        ("NOTHING_TO_REMOVE", "no influence to remove was measured", "erased|deleted"),
        ("RETRAINED", "exact by provenance", "could not be told apart"),
        ("FAIL", "was told apart", "passed"),
        ("INCONCLUSIVE", "do not settle", "passed"),
    ],
)
def test_a_verdict_claims_no_more_than_was_measured(
    audit_result: dict[str, Any], verdict: str, says: str, never: str
) -> None:
    sentence = verdict_sentence(verdict, audit_result)
    assert says in sentence
    assert not re.search(never, sentence, re.IGNORECASE)


CITED = {
    "id": "019a0c4e-0000-7000-8000-000000000009",
    "date": "2026-11-20T10:00:00.000000Z",
    "method": {"name": "muda", "version": "1", "digest": "0" * 64},
    "policy_digest": "1" * 64,
    "base_version": 1,
    "approximate_runs_since": 0,
    "references_per_trial": 19,
    "kinds": {"class": {"trials": 10, "passes": 9, "interval": [0.6, 0.98], "confidence": 0.95}},
    "does_not_prove": ["That this erasure succeeded."],
}


def test_a_qualified_report_cites_rate_interval_date_and_what_that_does_not_prove(
    report_context: ReportContext, audit_result: dict[str, Any]
) -> None:
    audit = {**audit_result, "num_references": 0, "influence": None}
    context = replace(
        report_context,
        verdict="QUALIFIED",
        audit_level="qualified",
        audit=audit,
        references=(),
        qualification=CITED,
    )
    predicate = build_statement(context)["predicate"]
    words = predicate["verdict_in_words"]
    assert "9 of 10 trial erasures" in words
    assert "60% to 98%" in words
    assert "2026-11-20" in words
    assert not re.search("could not be told apart|deleted|certain", words)
    assert predicate["qualification"] == CITED
    assert predicate["what_this_does_not_prove"][0] == "That this erasure succeeded."
    assert any("can refute a candidate" in limit for limit in predicate["limits"])


def test_a_failed_check_claims_no_comparison(audit_result: dict[str, Any]) -> None:
    sentence = verdict_sentence("FAIL", {**audit_result, "num_references": 0})
    assert "told apart" not in sentence


def test_a_pass_names_its_bound_and_a_retraining_its_attached_audit(
    audit_result: dict[str, Any],
) -> None:
    assert "at most 0.17" in verdict_sentence("PASS", audit_result)
    assert "audit says PASS" in verdict_sentence("RETRAINED", audit_result)
    assert "audit" not in verdict_sentence("RETRAINED", None)
    unreferenced = {**audit_result, "num_references": 0, "verdict": "INCONCLUSIVE"}
    assert "without references say INCONCLUSIVE" in verdict_sentence("RETRAINED", unreferenced)


def test_a_figure_that_was_not_measured_is_never_signed(
    report_context: ReportContext, figure_bytes: bytes, tmp_path: Path
) -> None:
    signer = load_signer(tmp_path / "k.pem", create=True)
    signed = publish(report_context, signer, {"relearning": figure_bytes})
    assert signed.sha256 == hashlib.sha256(signed.envelope).hexdigest()
    with pytest.raises(ServiceError) as caught:
        publish(report_context, signer, {"relearning": b"<svg/>"})
    assert caught.value.code == "figure_digest_mismatch"


class _Tags(HTMLParser):
    """Collect tags and check that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in {"meta", "img", "br", "circle", "line", "rect", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Match a tag with the last one that is open."""
        if tag in {"circle", "line", "rect", "path"}:
            return
        assert self.open.pop() == tag


@pytest.mark.parametrize("verdict", [*VERDICTS, "SOMETHING_NEW"])
@pytest.mark.parametrize("measured", [True, False])
def test_a_page_is_well_formed_whatever_the_verdict(
    report_context: ReportContext, verdict: str, *, measured: bool
) -> None:
    audit = report_context.audit if measured else None
    html = page(replace(report_context, verdict=verdict, audit=audit))
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    assert VERDICTS.get(verdict, ("", verdict))[1] in html


def test_a_page_of_an_audit_is_one_of_a_model_made_elsewhere(
    report_context: ReportContext, subject_facts: SubjectFacts
) -> None:
    nothing = {"subject_request_id": None, "regulation": None, "due_at": None, "due_rule": None}
    subject = replace(subject_facts, kind="audit", label="vendor <b>", **nothing)  # type: ignore[arg-type]
    candidate = replace(report_context.candidate, number=None)
    context = replace(
        report_context, subject=subject, candidate=candidate, method=None, tries=(), promoted=False
    )
    html = page(context)
    assert "Audit report" in html
    assert "vendor &lt;b&gt;" in html
    assert "None" not in re.sub(r"<style>.*</style>", "", html, flags=re.DOTALL)


def test_a_page_asks_nobody_for_anything(
    report_context: ReportContext, figure_bytes: bytes
) -> None:
    digest = hashlib.sha256(figure_bytes).hexdigest()
    html = page(report_context, {digest: figure_bytes})
    tags = _Tags()
    tags.feed(html)
    links = [value for _, name, value in tags.attributes if name in {"src", "href"}]
    assert links
    assert all(value is not None and value.startswith(("#", "data:image/")) for value in links)
    assert "<script" not in html
    assert not [name for _, name, _ in tags.attributes if name == "style" or name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html


def test_the_policy_of_a_page_is_that_of_its_style_sheet(report_context: ReportContext) -> None:
    rendered = render_report(build_statement(report_context), KEYID)
    style = re.search(r"<style>(.*)</style>", rendered.html, re.DOTALL)
    assert style is not None
    assert content_security_policy(style[1]) == rendered.content_security_policy


def test_a_figure_of_another_digest_is_not_shown(
    report_context: ReportContext, figure_bytes: bytes
) -> None:
    digest = hashlib.sha256(figure_bytes).hexdigest()
    shown = page(report_context, {digest: figure_bytes})
    assert "data:image/svg+xml;base64," in shown
    assert 'alt="Accuracy over relearning steps' in shown
    forged = page(report_context, {digest: b"<svg onload='alert(1)'/>"})
    assert "data:image" not in forged
    assert "does not have its recorded digest" in forged


def test_a_context_has_no_field_for_samples() -> None:
    names = {field.name for kind in (ReportContext, SubjectFacts) for field in fields(kind)}
    assert not names & {"sample_ids", "ordinals", "positions", "subject_ids"}


def test_an_audit_that_cannot_place_the_model_gives_no_one_number(
    report_context: ReportContext, audit_result: dict[str, Any]
) -> None:
    wide = {"value": 4.54, "lower": -4.6, "upper": 13.68, "confidence": 0.95}
    html = page(replace(report_context, audit={**audit_result, "influence": wide}))
    assert "Not resolved" in html
    assert ">4.54<" not in html.split('id="auditor"')[0]
    assert "of the samples’ influence remains" not in html
    assert "of the samples’ influence remains" in page(report_context)


def test_a_drawing_stays_on_its_paper_however_far_the_model_is() -> None:
    far = {"value": 40.0, "lower": -30.0, "upper": 90.0}
    svg, words = influence_scale(far, 0.33)
    places = [float(place) for place in re.findall(r'c?x[12]?="([\d.]+)"', svg)]
    assert all(0 <= place <= 360 for place in places)
    assert "40.00" in words
