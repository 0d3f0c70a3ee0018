"""What an audit of a closed request found beside its report: the same figures, or which differ."""

from collections.abc import Mapping
from typing import Any

from service.pages import formats
from service.pages.blocks import (
    Block,
    Text,
    cell,
    code,
    details,
    figures,
    heading,
    note,
    pairs,
    paragraph,
    strong,
    table,
)
from service.pages.view import View, mark, yes

Json = Mapping[str, Any]
_PURPOSES = {
    "upgrade": "an audit with references of a request that was closed without them",
    "reproduction": "the request's audit, made again from what was stored",
}


def compared(view: View) -> list[Block]:
    """Return the closed request that this audit is about, and the comparison with its report."""
    about = view.predicate.get("of_request")
    if not about:
        return []
    purpose = _PURPOSES.get(about["purpose"], formats.words(about["purpose"]))
    items: list[tuple[str, Text]] = [
        ("Deletion request", code(about["id"])),
        ("This audit is", purpose),
        ("Verdict of its report", mark(about["verdict"])),
        ("Digest of its report", code(about["report_sha256"])),
    ]
    made: list[Block] = [heading("The closed request that this is about"), pairs(items)]
    return [*made, *_comparison(about["comparison"])] if about["comparison"] else made


def _comparison(found: Json) -> list[Block]:
    differences, skipped = found["differences"], found["not_compared"]
    count = formats.number(found["compared"])
    same = f"all {count} figures that can be compared were found again"
    other = f"{formats.number(len(differences))} of {count} figures were not found again"
    made = [
        heading("The figures, made again", 4),
        paragraph([yes(found["reproduced"], same, other), _tolerance(found)]),
    ]
    if differences:
        made.append(_differences(differences))
    if skipped:
        some = "1 figure" if len(skipped) == 1 else f"{formats.number(len(skipped))} figures"
        title = f"{some} could not be compared"
        rows = [[cell(_figure(entry["figure"])), cell(entry["why"])] for entry in skipped]
        made.append(details(title, table("Not compared", ("Figure", "Why"), rows)))
    return made


def _tolerance(found: Json) -> str:
    seeds, other = (len(found["references"][name]) for name in ("seeds", "other_weights"))
    weights = f" {formats.number(seeds)} references were used"
    if seeds and not other:
        weights += ", the same weights as then"
    elif seeds:
        weights += f", {formats.number(other)} of them other weights than then"
    if found["exact"]:
        return f". They had to be identical.{weights}."
    return f". They may differ by {found['tolerance']:.1g} of the larger one.{weights}."


def _differences(differences: list[Json]) -> Block:
    rows = [
        [
            cell([_figure(entry["figure"]), note(entry["note"]) if entry.get("note") else ""]),
            figures(formats.flat(entry["recorded"])),
            figures(formats.flat(entry["found"])),
        ]
        for entry in differences
    ]
    head = ("Figure", "Recorded", "Found again")
    return table("Figures that differ", head, rows)


def _figure(path: str) -> Any:  # noqa: ANN401 - a span
    return strong(path.replace(".", " · "))
