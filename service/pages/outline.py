"""What a report says, in order: three parts of blocks, made from the signed statement alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.pages import auditor, engineer, officer
from service.pages.blocks import Block
from service.pages.view import View

FOOTER = (
    "Rendered from the signed statement alone; the signed statement is the record. Signed with "
)


@dataclass(frozen=True)
class Outline:
    """A whole report as plain JSON, ready to be set as a page or as a PDF."""

    title: str
    lead: str
    day: str
    keyid: str
    parts: tuple[dict[str, Any], ...]


def outline(statement: Mapping[str, Any], keyid: str) -> Outline:
    """Return the report's parts.

    Args:
        statement: The verified statement.
        keyid: Id of the key that signed it.
    """
    view = View(statement, keyid)
    parts = (
        _part("officer", "1 · In plain words", officer.blocks(view)),
        _part("auditor", "2 · For the auditor", auditor.blocks(view)),
        _part("engineer", "3 · For the engineer", engineer.blocks(view)),
    )
    return Outline(view.title, view.lead, view.day, keyid, parts)


def _part(key: str, name: str, blocks: list[Block]) -> dict[str, Any]:
    return {"id": key, "name": name, "blocks": blocks}
