"""The PDF: made from the envelope alone, the same bytes always, opened with a second library."""

import base64
import hashlib
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from service.ledger.report_context import ReportContext, SubjectFacts
from service.pages.pdf import _PRINTABLE, printable, render_pdf
from service.pages.view import VERDICTS
from service.report_words import WHAT_THIS_DOES_NOT_PROVE
from service.reports import build_statement, publish, sign_statement
from service.signing import Signer, load_signer

HOSTILE = (
    '#panic("owned") $x$ *bold* _it_ @ref <label> // comment',
    '\\u{1F600} \\ ] ] } #let x = read("/etc/passwd")',
    "<script>alert(1)</script>&amp;' onload=x \"",
    "漢字 😀 \u202egnirts desrever \u0000 \u0007 \ud7ff é \u0301",
    '`#{import "@preview/x:1.0.0"}` ```typ #1```',
)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """Return a signer."""
    return load_signer(tmp_path / "signing.pem", create=True)


def pdf_of(
    context: ReportContext, signer: Signer, figures: dict[str, bytes] | None = None
) -> bytes:
    """Return the PDF of a context."""
    return render_pdf(publish(context, signer).envelope, figures)


def words(pdf: bytes) -> str:
    """Return the text of all pages with single blanks."""
    text = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    return " ".join(text.replace("\u200b", "").split())


def plain(text: str) -> str:
    """Return a text as it may come back from a PDF: without blanks and hyphenation."""
    return "".join(text.split())


def test_it_carries_the_envelope_that_it_was_made_from(
    report_context: ReportContext, signer: Signer
) -> None:
    envelope = publish(report_context, signer).envelope
    reader = PdfReader(io.BytesIO(render_pdf(envelope)))
    assert reader.attachments == {"report.dsse.json": [envelope]}
    (attached,) = reader.attachment_list
    assert attached.associated_file_relationship == "/Source"


def test_it_is_marked_as_archivable_accessible_and_dated(
    report_context: ReportContext, signer: Signer
) -> None:
    reader = PdfReader(io.BytesIO(pdf_of(report_context, signer)))
    root: Any = reader.root_object
    metadata = root["/Metadata"].get_object().get_data().decode()
    assert "<pdfaid:part>3</pdfaid:part>" in metadata
    assert "<pdfaid:conformance>A</pdfaid:conformance>" in metadata
    assert "<pdfuaid:part>1</pdfuaid:part>" in metadata
    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"]
    assert reader.metadata is not None
    assert reader.metadata.creation_date is not None
    assert reader.metadata.creation_date.isoformat() == "2026-11-23T08:41:00+00:00"
    assert not {"/OpenAction", "/AA", "/AcroForm"} & set(root)


def test_its_first_page_is_for_the_officer_and_whole(
    report_context: ReportContext, signer: Signer
) -> None:
    reader = PdfReader(io.BytesIO(pdf_of(report_context, signer)))
    first, second = (plain(reader.pages[place].extract_text()) for place in (0, 1))
    for sentence in WHAT_THIS_DOES_NOT_PROVE:
        assert plain(sentence) in first
    assert "0.02" in first
    assert "17Dec2026" in first
    assert plain("Check it yourself") in first
    assert "FORTHEAUDITOR" in second
    assert "p-value" not in first
    assert len(reader.pages) < 12


def test_an_auditor_finds_figures_tries_and_digests(
    report_context: ReportContext, signer: Signer
) -> None:
    text = plain(words(pdf_of(report_context, signer)))
    for found in ("0.872 ± 0.021 (19)", "0.862 … 0.904", "distilled recovery", "entry 57"):
        assert plain(found) in text
    for digest in (report_context.policy_digest, report_context.candidate.sha256):
        assert digest in text


@pytest.mark.parametrize("verdict", [*VERDICTS, "SOMETHING_NEW"])
@pytest.mark.parametrize("measured", [True, False])
def test_every_verdict_is_set_and_says_what_is_not_proved(
    report_context: ReportContext, signer: Signer, verdict: str, *, measured: bool
) -> None:
    audit = report_context.audit if measured else None
    text = plain(words(pdf_of(replace(report_context, verdict=verdict, audit=audit), signer)))
    assert plain(VERDICTS.get(verdict, ("", verdict))[1]) in text
    assert all(plain(sentence) in text for sentence in WHAT_THIS_DOES_NOT_PROVE)


def test_the_same_envelope_gives_the_same_bytes_on_another_day(
    report_context: ReportContext, signer: Signer, figure_bytes: bytes, tmp_path: Path
) -> None:
    envelope = publish(report_context, signer).envelope
    figures = {hashlib.sha256(figure_bytes).hexdigest(): figure_bytes}
    first = render_pdf(envelope, figures)
    (tmp_path / "report.dsse.json").write_bytes(envelope)
    (tmp_path / "figure.svg").write_bytes(figure_bytes)
    program = (
        "import hashlib, sys, pathlib; from service.pages.pdf import render_pdf\n"
        "envelope, figure = (pathlib.Path(p).read_bytes() for p in sys.argv[1:])\n"
        "pdf = render_pdf(envelope, {hashlib.sha256(figure).hexdigest(): figure})\n"
        "print(hashlib.sha256(pdf).hexdigest())"
    )
    files = [str(tmp_path / name) for name in ("report.dsse.json", "figure.svg")]
    elsewhere = {**os.environ, "TZ": "Pacific/Auckland", "LANG": "C", "SOURCE_DATE_EPOCH": "1"}
    other = subprocess.run(
        [sys.executable, "-c", program, *files],
        env=elsewhere,
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == hashlib.sha256(first).hexdigest()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_set_as_it_stands(
    report_context: ReportContext, subject_facts: SubjectFacts, signer: Signer, name: str
) -> None:
    subject = replace(subject_facts, subject_request_id=name, label=name, due_rule=name)
    context = replace(report_context, model_name=name, dataset_name=name, subject=subject)
    statement = build_statement(context)
    predicate = statement["predicate"]
    predicate["reasons"] = [name]
    predicate["environment"] = {name: name}
    predicate["audit"] = {**predicate["audit"], "unheard_of": {name: [name, {"name": name}]}}
    predicate["figures"] = [{**predicate["figures"][0], "title": name, "alt": name}]
    text = words(render_pdf(sign_statement(statement, signer).envelope))
    assert plain(printable(name))[:20] in plain(text)
    assert "root:" not in text


def test_a_character_that_the_fonts_lack_is_named_by_its_number() -> None:
    assert printable("漢 \u202e é\ne\u0301") == "‹U+6F22› ‹U+202E› é é"


def test_the_fonts_have_every_character_that_is_let_through(
    report_context: ReportContext, signer: Signer
) -> None:
    every = [chr(point) for first, last in _PRINTABLE for point in range(first, last + 1)]
    statement = build_statement(report_context)
    statement["predicate"]["reasons"] = [" ".join(every)]
    statement["predicate"]["lineage"]["model"]["name"] = "".join(every[:300])
    statement["predicate"]["environment"] = {"bold": "".join(every)}
    assert render_pdf(sign_statement(statement, signer).envelope).startswith(b"%PDF-1.7")


def test_a_figure_of_another_digest_is_not_set(
    report_context: ReportContext, signer: Signer, figure_bytes: bytes
) -> None:
    digest = hashlib.sha256(figure_bytes).hexdigest()
    shown = words(pdf_of(report_context, signer, {digest: figure_bytes}))
    assert "is not shown" not in shown
    forged = words(pdf_of(report_context, signer, {digest: b"<svg/>"}))
    assert "does not have its recorded digest" in forged
    assert "Accuracy over relearning steps" in forged


def test_a_figure_that_is_no_drawing_leaves_the_report_whole(
    report_context: ReportContext, signer: Signer
) -> None:
    digest = hashlib.sha256(b"no drawing").hexdigest()
    figure = {**report_context.figures[0], "sha256": digest}
    context = replace(report_context, figures=(figure,))
    assert "is no drawing" in words(pdf_of(context, signer, {digest: b"no drawing"}))


def test_a_png_figure_is_set_too(report_context: ReportContext, signer: Signer) -> None:
    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    digest = hashlib.sha256(png).hexdigest()
    (figure,) = report_context.figures
    entry: dict[str, Any] = {**figure, "sha256": digest, "media_type": "image/png"}
    pdf = pdf_of(replace(report_context, figures=(entry,)), signer, {digest: png})
    images = [image for page in PdfReader(io.BytesIO(pdf)).pages for image in page.images]
    assert len(images) == 1
