"""Render a report as PDF/A-3a (and PDF/UA-1) from its signed envelope alone, by typst.

The envelope is attached, so the PDF carries its own proof. Only the fonts inside typst are used, no
clock and no network: the same envelope and figures give the same bytes with the same typst.
"""

import base64
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from functools import cache
from importlib.resources import as_file, files
from typing import Any, Literal

from service.pages import trusted_figure
from service.pages.charts import standalone
from service.pages.outline import FOOTER, outline
from service.pages.view import View

STANDARDS: list[Literal["a-3a", "ua-1"]] = ["a-3a", "ua-1"]
# What the fonts inside typst have (measured); PDF/A forbids a character without a glyph.
_PRINTABLE = (
    (0x20, 0x7E),
    (0xA0, 0xAC),
    (0xAE, 0x2FF),
    (0x370, 0x377),
    (0x37A, 0x37F),
    (0x384, 0x38A),
    (0x38C, 0x38C),
    (0x38E, 0x3A1),
    (0x3A3, 0x482),
    (0x48A, 0x4FF),
    (0x1E00, 0x1EFF),
    (0x2010, 0x2027),
    (0x202F, 0x2040),
    (0x20A0, 0x20C0),
    (0x2126, 0x2151),
    (0x2190, 0x22FF),
    (0x25A0, 0x25FF),
    (0x2713, 0x2717),
)


def render_pdf(envelope: bytes, figures: Mapping[str, bytes] | None = None) -> bytes:
    """Return the report as PDF.

    Args:
        envelope: The DSSE envelope, whose signature the caller trusts.
        figures: Content by SHA-256; a figure that is missing, altered or no drawing shows as words
            and table.
    """
    from typst import TypstError

    if not figures:
        return _compile(envelope, {})
    try:
        return _compile(envelope, figures)
    except TypstError:  # one of the figures is no drawing
        return _compile(envelope, {})


def _compile(envelope: bytes, figures: Mapping[str, bytes]) -> bytes:
    import typst

    document = json.loads(envelope)
    statement = json.loads(base64.b64decode(document["payload"]))
    keyid = str(document["signatures"][0]["keyid"])
    view, report = View(statement), outline(statement, keyid)
    made = datetime.fromisoformat(statement["predicate"]["report"]["generated_at"])
    shown = _prepare(asdict(report), figures, view.tone)
    shown |= {
        "footer": FOOTER,
        "reference": printable(view.reference),
        "made": [made.year, made.month, made.day, made.hour, made.minute, made.second],
        "envelope": envelope.decode(),
    }
    with as_file(files("service.pages").joinpath("templates")) as folder:
        pdf: bytes = typst.compile(
            str(folder / "report.typ"),
            root=str(folder),
            format="pdf",
            ignore_system_fonts=True,
            sys_inputs={"report": json.dumps(shown)},
            pdf_standards=[*STANDARDS],
            timestamp=int(made.timestamp()),
        )
    return pdf


@cache
def _has_glyph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _PRINTABLE)


def printable(text: str) -> str:
    """Name the characters that the fonts lack by their number: ⟨U+6F22⟩.

    Controls and direction marks are among them, so a name can't rearrange the line it stands in.
    """
    composed = unicodedata.normalize("NFC", text.replace("\n", " "))
    return "".join(c if _has_glyph(c) else f"‹U+{ord(c):04X}›" for c in composed)


def _prepare(value: Any, figures: Mapping[str, bytes], tone: str) -> Any:  # noqa: ANN401 - JSON
    """Return the outline with printable texts, coloured drawings and the figures' content."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list | tuple):
        return [_prepare(entry, figures, tone) for entry in value]
    if not isinstance(value, Mapping):
        return value
    drawn = {k: standalone(v, tone) for k, v in value.items() if k in {"svg", "icon"} and v}
    rest = {k: _prepare(v, figures, tone) for k, v in value.items() if k not in drawn}
    if value.get("kind") == "figure":
        rest["image"] = _image(value, figures)
    return {**rest, **drawn}


def _image(figure: Mapping[str, Any], figures: Mapping[str, bytes]) -> dict[str, Any] | None:
    content = trusted_figure(figures, figure["sha256"], figure["media_type"])
    if content is None:
        return None
    if figure["media_type"] == "image/png":
        return {"format": "png", "data": list(content)}
    return {"format": "svg", "data": content.decode("utf-8", "replace")}
