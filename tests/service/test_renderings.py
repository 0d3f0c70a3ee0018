"""Schema, bundle and the page's own promises, over every kind of report that there is."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from service.ledger.report_context import ReportContext, SubjectFacts
from service.pages.view import VERDICTS
from service.renderings import SignedFile, bundle, schema, sign_renderings
from service.report_words import WHAT_THIS_DOES_NOT_PROVE
from service.reports import build_statement, publish, sign_statement
from service.signing import Signer, load_signer

LISTED = datetime(2026, 12, 24, 18, 0, tzinfo=UTC)
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """Return a signer."""
    return load_signer(tmp_path / "signing.pem", create=True)


@pytest.fixture
def report(report_context: ReportContext, signer: Signer, figure_bytes: bytes) -> SignedFile:
    """Return a signed report with its figure."""
    figures = {hashlib.sha256(figure_bytes).hexdigest(): figure_bytes}
    return SignedFile(publish(report_context, signer).envelope, figures)


def errors(statement: dict[str, Any]) -> list[str]:
    """Return what a statement has against the schema."""
    found = jsonschema.Draft202012Validator(json.loads(schema())).iter_errors(statement)
    return [f"{error.json_path}: {error.message}" for error in found]


def test_the_schema_in_docs_is_the_one_that_is_shipped() -> None:
    assert (DOCS / "predicate.schema.json").read_bytes() == schema()
    jsonschema.Draft202012Validator.check_schema(json.loads(schema()))


@pytest.mark.parametrize("verdict", list(VERDICTS))
@pytest.mark.parametrize("measured", [True, False])
def test_every_report_fits_the_schema(
    report_context: ReportContext, verdict: str, *, measured: bool
) -> None:
    audit = report_context.audit if measured else None
    statement = build_statement(replace(report_context, verdict=verdict, audit=audit))
    assert errors(json.loads(json.dumps(statement))) == []


def test_an_audits_report_fits_the_schema(
    report_context: ReportContext, subject_facts: SubjectFacts
) -> None:
    facts: dict[str, Any] = {"subject_request_id": None, "regulation": None, "due_at": None}
    subject = replace(subject_facts, kind="audit", label="vendor", due_rule=None, **facts)
    candidate = replace(report_context.candidate, number=None)
    recipe: dict[str, Any] = {"recipe": None, "recipe_digest": None, "run_id": None}
    changed = {"method": None, "tries": (), "ladder": (), "promoted": False, **recipe}
    context = replace(report_context, subject=subject, candidate=candidate, **changed)
    assert errors(build_statement(context)) == []


def test_what_a_later_audit_adds_still_fits_and_is_shown(
    report_context: ReportContext, signer: Signer
) -> None:
    statement = json.loads(json.dumps(build_statement(report_context)))
    predicate = statement["predicate"]
    part = predicate["audit"]["parts"][0]
    part["resolution"] = {"smallest": 0.123, "limit": 0.33, "resolved": True}
    part["metrics"].append(
        {"name": "attack.tpr", "label": "Unheard-of metric", "n": 7, "original": None}
        | {"candidate": 0.456, "references": None, "interval": None, "gated": False, "at": 0.01}
    )
    predicate["audit"]["drift"] = [{"scope": "class", "outcome": "PASS", "reason": "small drift"}]
    predicate["qualification"] = {"id": "q-77", "kinds": {"class": {"trials": 10, "passes": 9}}}
    predicate["notices"] = ["two copies are left"]
    predicate["something_else"] = {"word": "sphinx"}
    assert errors(statement) == []
    html = SignedFile(sign_statement(statement, signer).envelope, {}).page.html
    for shown in (
        "two copies are left",
        "sphinx",
        "0.123",
        "Unheard-of metric",
        "0.456",
        "at: 0.010",
        "small drift",
        "q-77",
    ):
        assert shown in html
    assert "passes" in html


@pytest.mark.parametrize("member", ["verdict", "what_this_does_not_prove", "audit_log", "tries"])
def test_a_report_without_a_member_does_not_fit(report_context: ReportContext, member: str) -> None:
    statement = build_statement(report_context)
    del statement["predicate"][member]
    assert errors(statement)


def test_every_rendering_says_what_is_not_proved(report: SignedFile) -> None:
    for sentence in WHAT_THIS_DOES_NOT_PROVE:
        assert sentence in report.page.html
        assert sentence in report.payload.decode()


def test_a_legal_hold_is_named_where_it_keeps_files(
    report_context: ReportContext, signer: Signer, figure_bytes: bytes
) -> None:
    held = tuple(replace(copy, until=None, held=True) for copy in report_context.residual_copies)
    made = publish(replace(report_context, residual_copies=held), signer)
    assert errors(made.statement) == []
    figures = {hashlib.sha256(figure_bytes).hexdigest(): figure_bytes}
    page = SignedFile(made.envelope, figures).page.html
    assert "kept by a legal hold on the data set" in page
    assert "a legal hold keeps it" in page


def test_the_page_is_the_same_bytes_each_time(report: SignedFile, signer: Signer) -> None:
    again = SignedFile(report.envelope, dict(report.figures))
    assert again.page == report.page
    assert again.pdf == report.pdf
    lists = [sign_renderings(each, signer, LISTED) for each in (again, report)]
    assert lists[0] == lists[1] != sign_renderings(report, signer, LISTED + timedelta(days=1))


def contents(archive: bytes) -> dict[str, bytes]:
    """Return the files of a zip."""
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        assert found.testzip() is None
        return {name: found.read(name) for name in found.namelist()}


def test_a_bundle_is_enough_to_check_the_report_alone(
    report: SignedFile, signer: Signer, tmp_path: Path
) -> None:
    signer.jwks()["keys"][0]["nbf"] = 1_700_000_000
    alone = tmp_path / "alone"
    for name, content in contents(bundle(report, signer, LISTED)).items():
        path = alone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    arguments = ["--jwks", "jwks.json", "--key", signer.keyid, "--figures", "figures"]
    arguments += ["--html", "report.html", "--pdf", "report.pdf"]
    arguments += ["--renderings", "renderings.dsse.json", "--json"]
    done = subprocess.run(
        [sys.executable, "-I", "verify.py", "report.dsse.json", *arguments],
        cwd=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["exit_code"]) == (0, 0), answer
    asked = [claim for claim, holds in answer["claims"].items() if holds is None]
    assert len(asked) == 3  # weights, ids and log are not in a bundle


def test_a_bundle_names_all_that_a_new_audit_needs(
    report: SignedFile, report_context: ReportContext, signer: Signer
) -> None:
    files = contents(bundle(report, signer, LISTED))
    weights = json.loads(files["weights.json"])
    assert weights["base"]["sha256"] == report_context.base.sha256
    assert (
        weights["result"]["path"]
        == f"/v1/models/{report_context.model_id}/versions/2/weights?for_audit=true"
    )
    assert len(weights["references"]) == 19
    assert json.loads(files["policy.json"])["influence"]["limit"] == 0.33
    assert json.loads(files["recipe.json"]) == report_context.recipe
    assert json.loads(files["network.json"])["architecture"] == "expunge:small_cnn"
    assert b"salt" in files["README.md"]
    for name in files:
        assert f"`{name}`".encode() in files["README.md"] or name.startswith(("README", "figures"))


def test_a_bundle_is_the_same_bytes_each_time(report: SignedFile, signer: Signer) -> None:
    again = SignedFile(report.envelope, report.figures)
    assert bundle(report, signer, LISTED) == bundle(again, signer, LISTED)
    altered = dict.fromkeys(report.figures, b"<svg/>")
    assert not any(
        name.startswith("figures/")
        for name in contents(bundle(SignedFile(report.envelope, altered), signer, LISTED))
    )
