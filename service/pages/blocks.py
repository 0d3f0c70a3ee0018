"""The building blocks of a report: plain JSON that both the page and the PDF are set from.

Every text is a list of spans `{"t": text, "s": style}`. Strings stay strings until the last step,
where Jinja2 escapes them and typst sets them: no rendering ever reads one as markup.

Styles: "" plain, strong, code, soft, keep (unbroken), note and key (lines of their own, key in
fixed pitch), good, bad, open, calm.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Block = dict[str, Any]
Span = dict[str, str]
Text = str | Span | Sequence[str | Span]
MOST_COLUMNS = 12


def styled(style: str, text: object) -> Span:
    """Return a span in a style."""
    return {"t": str(text), "s": style}


def strong(text: object) -> Span:
    """Return an emphasised span."""
    return styled("strong", text)


def code(text: object) -> Span:
    """Return a digest or an identifier; a dash for None."""
    return styled("code", text) if text else styled("", "–")


def soft(text: object) -> Span:
    """Return a span that stands back."""
    return styled("soft", text)


def keep(text: object) -> Span:
    """Return a span that no line break parts."""
    return styled("keep", text)


def note(text: object) -> Span:
    """Return a span on a line of its own."""
    return styled("note", text)


def spans(text: Text) -> list[Span]:
    """Return a text as spans."""
    if isinstance(text, str):
        return [styled("", text)]
    if isinstance(text, Mapping):
        return [dict(text)]
    return [span for part in text for span in spans(part)]


def heading(text: Text, level: int = 3) -> Block:
    """Return a heading; level 2 opens a part, 3 and 4 divide it."""
    return {"kind": "heading", "level": level, "text": spans(text)}


def paragraph(text: Text, *, small: bool = False) -> Block:
    """Return a paragraph, small and soft where it only explains."""
    return {"kind": "paragraph", "small": small, "text": spans(text)}


def bullets(items: Iterable[Text]) -> Block:
    """Return a list."""
    return {"kind": "bullets", "items": [spans(item) for item in items]}


def columns(*sides: list[Block]) -> Block:
    """Return blocks side by side where there is room."""
    return {"kind": "columns", "sides": list(sides)}


def pairs(items: Iterable[tuple[str, Text]]) -> Block:
    """Return names with what belongs to them."""
    return {"kind": "pairs", "items": [{"name": n, "text": spans(t)} for n, t in items]}


def facts(items: Iterable[tuple[str, str, Text]]) -> Block:
    """Return the cards (name, value, note) of the first page."""
    made = [{"name": n, "value": v, "note": spans(t)} for n, v, t in items]
    return {"kind": "facts", "items": made}


def box(text: Text, example: str, after: Text, title: str) -> Block:
    """Return a framed text with a command in it."""
    return {
        "kind": "box",
        "title": title,
        "text": spans(text),
        "example": example,
        "after": spans(after),
    }


def drawing(svg: str, alt: str, kind: str) -> Block:
    """Return a small drawing of the report's numbers; `kind` is its class."""
    return {"kind": "drawing", "svg": svg, "alt": alt, "class": kind}


def details(title: str, *inside: Block) -> Block:
    """Return blocks that a page folds away and a print shows."""
    return {"kind": "details", "title": title, "blocks": list(inside)}


def cell(text: Text = "", *, number: bool = False, svg: str | None = None) -> Block:
    """Return a table's cell: text, or a drawing."""
    return {"text": spans(text), "number": number, "svg": svg}


def figures(text: object) -> Block:
    """Return a cell whose numbers stand under each other."""
    return cell(str(text), number=True)


def table(
    label: str,
    head: Sequence[str],
    rows: Sequence[Sequence[Block]],
    *,
    marked: Sequence[bool] = (),
    weights: Sequence[float] = (),
) -> Block:
    """Return a table whose first column names the rows.

    Args:
        label: What it shows, for whoever cannot see it.
        head: Headings.
        rows: As many cells each.
        marked: Rows that enter the verdict.
        weights: How the columns share the width of a printed page; default: the first has more.
    """
    numeric = [bool(rows) and all(row[i]["number"] for row in rows) for i in range(len(head))]
    columns_ = [{"name": name, "number": n} for name, n in zip(head, numeric, strict=True)]
    body = [
        {"cells": list(row), "marked": place < len(marked) and marked[place]}
        for place, row in enumerate(rows)
    ]
    made = {"kind": "table", "label": label, "columns": columns_, "rows": body}
    return {**made, "weights": list(weights)}


def wide(label: str, head: Sequence[str], rows: Sequence[Sequence[Block]]) -> list[Block]:
    """Return a table, or several that repeat the first column where it has too many columns."""
    if len(head) <= MOST_COLUMNS:
        return [table(label, head, rows)]
    step = MOST_COLUMNS - 1
    return [
        table(label, [head[0], *head[s : s + step]], [[row[0], *row[s : s + step]] for row in rows])
        for s in range(1, len(head), step)
    ]
