"""The third part: figures with their numbers, and how the model was made, for an engineer."""

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
    wide,
)
from service.pages.pool import pool_blocks
from service.pages.view import View


def blocks(view: View) -> list[Block]:
    """Return the change per class, the figures, and how everything was made."""
    made = [heading("Every figure, and how it was made", 2)]
    if not view.audit:
        made.append(paragraph("This request was closed without an audit: nothing was measured."))
    made += _collateral(view)
    for figure in view.predicate["figures"]:
        made.append(_figure(figure))
    made += [heading("How it was made"), pairs(_made(view))]
    return [*made, *_references(view), *pool_blocks(view)]


def _collateral(view: View) -> list[Block]:
    rows = []
    for row in view.audit.get("collateral") or ():
        before, after = row.get("original"), row.get("candidate")
        change = None if before is None or after is None else after - before
        rows.append(
            [
                cell(strong(row["class"])),
                figures(formats.number(row.get("n"))),
                figures(formats.number(before)),
                figures(formats.number(after)),
                figures(formats.signed(change)),
                figures(formats.spread(row.get("references"))),
            ]
        )
    if not rows:
        return []
    head = ("Class", "n", "Before", "New", "Change", "References: mean ± sd (n)")
    return [heading("Change per class"), table("Change per class", head, rows)]


def _figure(figure: Mapping[str, Any]) -> Block:
    numbers = figure.get("table") or {"columns": [], "rows": []}
    rows = [
        [cell(formats.number(row[0])), *(figures(formats.number(value)) for value in row[1:])]
        for row in numbers["rows"]
        if row
    ]
    tables = wide(f"Numbers of: {figure['title']}", numbers["columns"], rows) if rows else []
    return {
        "kind": "figure",
        "title": figure["title"],
        "alt": figure["alt"],
        "sha256": figure["sha256"],
        "media_type": figure.get("media_type") or "image/svg+xml",
        "tables": [details(f"The numbers ({len(rows)} rows)", *tables)] if tables else [],
    }


def _made(view: View) -> list[tuple[str, Text]]:
    lineage, method = view.lineage, view.predicate.get("method")
    model, report = lineage["model"], view.predicate["report"]
    items: list[tuple[str, Text]] = [("Architecture", model["architecture"])]
    items += [(formats.capital(name), text) for name, text in formats.facts(_network(model))]
    if method:
        kind = formats.words(method.get("class"))
        told = f"{formats.words(method.get('name'))}, version {method.get('version')} ({kind})"
        took = f"seed {method.get('seed')}, {formats.seconds(method.get('seconds'))}"
        settings = formats.settings(method.get("hyperparameters"))
        items += [("Method", f"{told}, {took}"), ("Hyper-parameters", settings or "–")]
        items.append(("Made on", formats.settings(method.get("environment")) or "–"))
    ladder = " → ".join(_rung(rung) for rung in lineage["ladder"])
    recipe = formats.settings(lineage.get("recipe")) or "none registered"
    generator = report["generator"]
    return [
        *items,
        ("Ladder", [ladder or "–", *(note(words) for words in _climb(lineage))]),
        (
            "Recipe",
            [recipe, note(lineage["recipe_digest"])] if lineage["recipe_digest"] else recipe,
        ),
        ("Audited on", formats.settings(view.predicate["environment"]) or "–"),
        ("Run", code(lineage.get("run_id"))),
        (
            "Report made by",
            f"{generator['name']} {generator['version']}, {formats.moment(report['generated_at'])}",
        ),
    ]


def _rung(rung: str | Mapping[str, Any]) -> str:
    if isinstance(rung, str):
        return formats.words(rung)
    return f"{formats.words(rung['method'])} ({formats.settings(rung['hyperparameters'])})"


_ENDS = {"not_approved": "was not approved"}


def _climb(lineage: Mapping[str, Any]) -> list[str]:
    """Say why the run did not start at the first rung, and which rungs gave no candidate."""
    start = lineage.get("start") or {"rung": 0, "reason": None}
    said = [start["reason"]] if start["reason"] else []
    later = (lineage.get("passed_over") or [])[start["rung"] :]
    return said + [
        f"Rung {entry['rung'] + 1}, {formats.words(entry['method'])},"
        f" {_ENDS.get(entry['code'], 'gave no candidate')}: {entry['detail']}"
        for entry in later
    ]


def _network(model: Mapping[str, Any]) -> dict[str, Any]:
    known = {"id", "name", "architecture"}
    return {name: value for name, value in model.items() if name not in known and value}


def _references(view: View) -> list[Block]:
    references = view.lineage["references"]
    if not references:
        return []
    rows = [
        [
            figures(reference["seed"]),
            figures(formats.seconds(reference.get("seconds"))),
            cell(code(reference["sha256"])),
        ]
        for reference in references
    ]
    title = f"The {len(rows)} models trained without the samples"
    return [details(title, table("References", ("Seed", "Time", "SHA-256"), rows))]
