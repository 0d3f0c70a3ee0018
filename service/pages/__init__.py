"""Render a report as one HTML page from its signed statement alone.

The page loads nothing: figures lie in it as images, after their digests were checked against the
statement; its policy forbids scripts and every request.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from service.pages.outline import FOOTER, outline
from service.pages.view import VERDICTS

__all__ = ["VERDICTS", "Page", "content_security_policy", "render_report"]

_IMAGE_TYPES = frozenset({"image/svg+xml", "image/png"})


@dataclass(frozen=True)
class Page:
    """A rendered page and the Content-Security-Policy that fits it."""

    html: str
    content_security_policy: str


def render_report(
    statement: Mapping[str, Any], keyid: str, figures: Mapping[str, bytes] | None = None
) -> Page:
    """Render a report; the same statement and figures give the same bytes.

    Args:
        statement: The verified statement.
        keyid: Id of the key that signed it.
        figures: Content by SHA-256. A figure whose content is missing or has another digest is
            shown as its table only, and the page says so.
    """
    contents, report = figures or {}, outline(statement, keyid)
    return render_page("report.html", report=report, footer=FOOTER, source=_sources(contents))


def render_page(template: str, **values: Any) -> Page:  # noqa: ANN401 - a template's variables
    """Render a template with the package's style sheet and a policy that fits it."""
    css = _style()
    policy = content_security_policy(css)
    style = Markup(css)  # noqa: S704 - the package's own style sheet
    html = _environment().get_template(template).render(css=style, csp=policy, **values)
    return Page(html, policy)


def trusted_figure(contents: Mapping[str, bytes], sha256: str, media_type: str) -> bytes | None:
    """Return a figure's content if it is at hand, of a known kind and has its recorded digest."""
    content = contents.get(sha256)
    if content is None or media_type not in _IMAGE_TYPES:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def content_security_policy(css: str) -> str:
    """Return a policy that allows this style sheet and images inside the page, nothing else."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _sources(contents: Mapping[str, bytes]) -> Any:  # noqa: ANN401 - a template's function
    """Return a function that gives a figure as a data URI, or None where it can't be trusted.

    An SVG inside an `img` can neither run scripts nor load anything.
    """

    def source(figure: Mapping[str, Any]) -> str | None:
        content = trusted_figure(contents, figure["sha256"], figure["media_type"])
        if content is None:
            return None
        return f"data:{figure['media_type']};base64,{base64.b64encode(content).decode()}"

    return source


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
    environment.filters["drawn"] = Markup  # what charts drew; every word in it was escaped
    return environment
