"""Render a report as one HTML page from its signed statement alone.

The page loads nothing: figures lie in it as images, after their digests were checked against the
statement; its policy forbids scripts and every request.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from service.pages import charts

_SVG = "image/svg+xml"
_IMAGE_TYPES = frozenset({_SVG, "image/png"})
VERDICTS = {
    "PASS": ("good", "Passed the audit"),
    "QUALIFIED": ("calm", "Done by a method that passed trials"),
    "NOTHING_TO_REMOVE": ("calm", "Nothing measurable to remove"),
    "RETRAINED": ("calm", "Retrained without the data"),
    "INCONCLUSIVE": ("open", "Not settled"),
    "FAIL": ("bad", "Failed the audit"),
}
_CONTROL_NAMES = {
    "untouched": "the model before, unchanged",
    "head_masked": "its last layer masked",
    "head_refitted": "its last layer refitted",
    "channels_rescaled": "its channels rescaled",
}


@dataclass(frozen=True)
class Page:
    """A rendered page and the Content-Security-Policy that fits it."""

    html: str
    content_security_policy: str


def render_report(
    statement: Mapping[str, Any], keyid: str, figures: Mapping[str, bytes] | None = None
) -> Page:
    """Render a report.

    Args:
        statement: The verified statement.
        keyid: Id of the key that signed it.
        figures: Content by SHA-256. A figure whose content is missing or has another digest is
            shown as its table only, and the page says so.
    """
    predicate = statement["predicate"]
    tone, title = VERDICTS.get(predicate["verdict"], ("open", predicate["verdict"]))
    css = _style()
    policy = content_security_policy(css)
    html = (
        _environment()
        .get_template("report.html")
        .render(
            subject=statement["subject"][0],
            p=predicate,
            keyid=keyid,
            tone=tone,
            verdict_title=title,
            figures=[_figure(figure, figures or {}) for figure in predicate["figures"]],
            css=Markup(css),  # noqa: S704 - the package's own style sheet
            csp=policy,
            limit=_limit(predicate),
            charts=charts,
            control_names=_CONTROL_NAMES,
            tone_of=lambda verdict: VERDICTS.get(verdict, ("open", ""))[0],
        )
    )
    return Page(html, policy)


def content_security_policy(css: str) -> str:
    """Return a policy that allows this style sheet and images inside the page, nothing else."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _figure(figure: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return a figure with its content as a data URI, or without where it can't be trusted.

    An SVG inside an `img` can neither run scripts nor load anything.
    """
    content = contents.get(figure["sha256"])
    media_type = figure.get("media_type") or _SVG
    known = content is not None and hashlib.sha256(content).hexdigest() == figure["sha256"]
    source = None
    if content is not None and known and media_type in _IMAGE_TYPES:
        source = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    return {**figure, "source": source}


def _limit(predicate: Mapping[str, Any]) -> float | None:
    document = predicate["policy"].get("document") or {}
    limit = document.get("influence", {}).get("limit")
    return float(limit) if limit is not None else None


@cache
def _style() -> str:
    return files("service.pages").joinpath("templates/report.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("service.pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "number": _number,
        "signed": lambda value: _number(value) if value is None or value < 0 else f"+{value:.3f}",
        "seconds": _seconds,
        "day": _day,
        "moment": _moment,
        "short": lambda digest: f"{digest[:12]}…" if digest and len(digest) > 14 else digest or "–",
        "words": lambda name: str(name).replace("_", " "),
    }
    return environment


def _number(value: object) -> str:
    """Write a number with at most four significant digits; anything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if isinstance(value, float):
        digits = 3 if abs(value) < 10 else 1
        text = f"{value:.{digits}f}" if 0.001 <= abs(value) < 1e5 or not value else f"{value:.3g}"
        return text.replace("-", "−")
    return str(value)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 120:
        return f"{value:.1f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def _day(text: str | None) -> str:
    if not text:
        return "–"
    return f"{datetime.fromisoformat(text):%d %b %Y}".lstrip("0").replace(" ", "\N{NO-BREAK SPACE}")


def _moment(text: str | None) -> str:
    if not text:
        return "–"
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
