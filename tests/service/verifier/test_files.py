"""The verifier on what lies beside a report: figures, log, page and PDF."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service import commitment, verify
from service.ledger.report_context import LogPosition, ReportContext
from service.renderings import SignedFile, sign_renderings
from service.reports import publish
from service.signing import Signer, load_signer
from tests.service.verifier.running import (
    Captured,
    check,
    section,
)

LISTED = datetime(2026, 12, 24, 18, 0, tzinfo=UTC)


def test_figures_are_known_by_their_digests(
    folder: Path, figure_bytes: bytes, capsys: Captured
) -> None:
    figures = folder / "figures"
    figures.mkdir()
    (figures / "any-name.svg").write_bytes(figure_bytes)
    (figures / "beside.txt").write_text("not of the report")
    arguments = ("--jwks", folder / "jwks.json", "--figures", figures)
    code, output = check(folder, capsys, *arguments)
    assert (code, "figures" in section(output, "Holds")) == (verify.HOLDS, True)
    (figures / "any-name.svg").write_bytes(figure_bytes + b" ")
    code, output = check(folder, capsys, *arguments)
    assert (code, "figures" in section(output, "DOES NOT HOLD")) == (verify.CHECK_FAILED, True)


def chain(length: int) -> list[dict[str, Any]]:
    """Return log entries linked as `service.ledger.log` links them."""
    entries: list[dict[str, Any]] = []
    for seq in range(1, length + 1):
        before = entries[-1]["hash"] if entries else "0" * 64
        entry = {"tenant_id": "t", "seq": seq, "at": "2026-11-23T08:41:00.000000Z", "actor": "ä"}
        entry |= {"action": "moved", "resource": "r", "payload": {"n": seq}, "prev_hash": before}
        entries.append({**entry, "hash": commitment.digest_of(entry)})
    return entries


def reported(context: ReportContext, folder: Path, signer: Signer, place: dict[str, Any]) -> None:
    """Sign a report that names this log entry."""
    position = LogPosition(seq=place["seq"], hash=place["hash"])
    envelope = publish(replace(context, log=position), signer).envelope
    (folder / "report.dsse.json").write_bytes(envelope)


def judged(folder: Path, capsys: Captured, entries: list[dict[str, Any]]) -> int:
    """Let the verifier check a segment of the log, and return its exit code."""
    (folder / "log.json").write_text(json.dumps({"items": entries, "next_cursor": None}))
    arguments = ("--jwks", folder / "jwks.json", "--log", folder / "log.json")
    return check(folder, capsys, *arguments)[0]


def test_a_log_segment_is_followed_to_the_entry_that_the_report_names(
    context: ReportContext, folder: Path, signer: Signer, capsys: Captured
) -> None:
    entries = chain(6)
    reported(context, folder, signer, entries[3])
    assert judged(folder, capsys, entries) == verify.HOLDS
    assert judged(folder, capsys, entries[2:5]) == verify.HOLDS
    assert judged(folder, capsys, entries[:3]) == verify.CHECK_FAILED  # it ends before
    assert judged(folder, capsys, []) == verify.UNREADABLE


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("alteration", ["payload", "removed", "rehashed"])
def test_a_log_that_was_rewritten_is_refused(  # noqa: PLR0917 - fixtures
    context: ReportContext,
    folder: Path,
    signer: Signer,
    capsys: Captured,
    place: int,
    alteration: str,
) -> None:
    entries = chain(6)
    reported(context, folder, signer, entries[5])
    if alteration == "removed":
        del entries[place]
    else:
        entries[place]["payload"] = {"n": 99}
    if alteration == "rehashed":
        content = {name: value for name, value in entries[place].items() if name != "hash"}
        entries[place]["hash"] = commitment.digest_of(content)
    code = judged(folder, capsys, entries)
    harmless = alteration == "removed" and place == 0  # then it is a shorter segment
    assert code == (verify.HOLDS if harmless else verify.CHECK_FAILED)


@pytest.fixture
def rendered(folder: Path, signer: Signer, figure_bytes: bytes) -> Path:
    """Return the folder with page, PDF and the signed list of both."""
    digest = hashlib.sha256(figure_bytes).hexdigest()
    report = SignedFile((folder / "report.dsse.json").read_bytes(), {digest: figure_bytes})
    (folder / "report.html").write_text(report.page.html, encoding="utf-8")
    (folder / "report.pdf").write_bytes(report.pdf)
    (folder / "renderings.dsse.json").write_bytes(sign_renderings(report, signer, LISTED))
    return folder


def test_a_page_and_a_pdf_are_known_by_the_signed_list(rendered: Path, capsys: Captured) -> None:
    listing = ("--jwks", rendered / "jwks.json", "--renderings", rendered / "renderings.dsse.json")
    pages = {"--html": rendered / "report.html", "--pdf": rendered / "report.pdf"}
    both = [part for pair in pages.items() for part in pair]
    code, output = check(rendered, capsys, *listing, *both)
    assert (code, "made these pages" in section(output, "Holds")) == (verify.HOLDS, True)
    code, output = check(rendered, capsys, *listing)
    assert "made these pages" in section(output, "Not checked")
    for option, path in pages.items():
        path.write_bytes(path.read_bytes() + b"\n")
        code, output = check(rendered, capsys, *listing, option, path)
        assert (code, "these pages" in section(output, "DOES NOT HOLD")) == (3, True)


def test_the_verifier_says_when_the_list_was_signed(rendered: Path, capsys: Captured) -> None:
    listing = ("--jwks", rendered / "jwks.json", "--renderings", rendered / "renderings.dsse.json")
    _, output = check(rendered, capsys, *listing, "--html", rendered / "report.html")
    assert "and listed them on 2026-12-24T18:00:00Z" in section(output, "Holds")


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(datetime(2026, 11, 23, 8, 40, tzinfo=UTC), id="before the report was made"),
        pytest.param(LISTED + timedelta(days=30), id="after the key was retired"),
    ],
)
def test_a_list_of_a_time_at_which_it_cannot_have_been_made_is_refused(
    rendered: Path, signer: Signer, capsys: Captured, at: datetime
) -> None:
    keys = signer.jwks()
    keys["keys"][0] |= {"nbf": 1_700_000_000, "exp": int(LISTED.timestamp())}
    (rendered / "jwks.json").write_text(json.dumps(keys))
    own = SignedFile((rendered / "report.dsse.json").read_bytes(), {})
    (rendered / "report.html").write_text(own.page.html, encoding="utf-8")
    listing = rendered / "renderings.dsse.json"
    arguments = ("--jwks", rendered / "jwks.json", "--html", rendered / "report.html")
    for moment, holds in ((LISTED, True), (at, False)):
        listing.write_bytes(sign_renderings(own, signer, moment))
        code, output = check(rendered, capsys, *arguments, "--renderings", listing)
        assert (code == verify.HOLDS) is holds
        assert ("these pages" in section(output, "DOES NOT HOLD")) is not holds


def test_a_list_of_a_service_that_wrote_no_date_still_holds(
    rendered: Path, signer: Signer, capsys: Captured
) -> None:
    listing = rendered / "renderings.dsse.json"
    statement = json.loads(base64.b64decode(json.loads(listing.read_bytes())["payload"]))
    del statement["predicate"]["listed_at"]
    listing.write_bytes(signer.sign(commitment.canonical_json(statement)))
    arguments = ("--jwks", rendered / "jwks.json", "--html", rendered / "report.html")
    code, output = check(rendered, capsys, *arguments, "--renderings", listing)
    assert (code, "on no date" in section(output, "Holds")) == (verify.HOLDS, True)


def test_a_list_of_another_report_or_signer_is_refused(
    rendered: Path, context: ReportContext, signer: Signer, tmp_path: Path, capsys: Captured
) -> None:
    listing = rendered / "renderings.dsse.json"
    arguments = ("--jwks", rendered / "jwks.json", "--html", rendered / "report.html")
    other = SignedFile(publish(replace(context, verdict="FAIL"), signer).envelope, {})
    listing.write_bytes(sign_renderings(other, signer, LISTED))
    code, _ = check(rendered, capsys, *arguments, "--renderings", listing)
    assert code == verify.CHECK_FAILED
    stranger = load_signer(tmp_path / "stranger.pem", create=True)
    own = SignedFile((rendered / "report.dsse.json").read_bytes(), {})
    listing.write_bytes(sign_renderings(own, stranger, LISTED))
    code, _ = check(rendered, capsys, *arguments, "--renderings", listing)
    assert code == verify.UNKNOWN_KEY
    code, _ = check(rendered, capsys, *arguments, "--renderings", rendered / "report.dsse.json")
    assert code == verify.CHECK_FAILED  # a report is no list
