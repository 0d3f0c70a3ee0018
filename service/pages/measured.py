"""Tables of what was measured; rows and members that this code has never heard of included."""

from collections.abc import Mapping
from typing import Any

from service.pages import charts, formats
from service.pages.blocks import Block, cell, code, figures, heading, note, pairs, paragraph, table

_HEAD = ("Metric", "n", "Before", "New", "Interval", "References: mean ± sd (n)", "")
_KNOWN_METRIC = frozenset(
    "name label n original candidate references interval interval_note gated note".split()
)


def metrics(part: Mapping[str, Any]) -> list[Block]:
    """Return the table of a part's metrics with its legend."""
    rows, marked = [], []
    for metric in part.get("metrics") or ():
        rows.append(_row(metric))
        marked.append(bool(metric.get("gated")))
    if not rows:
        return []
    return [
        heading("Metrics", 4),
        {"kind": "legend", "items": charts.legend()},
        table(f"Metrics of the {part['scope']} part", _HEAD, rows, marked=marked),
        paragraph(
            "◆ enters the joint test. Only the distance from the models that never saw the data "
            "counts: no metric is better for being higher.",
            small=True,
        ),
    ]


def others(values: Mapping[str, Any], known: frozenset[str], title: str) -> list[Block]:
    """Return what a mapping holds besides the known members."""
    unknown = {name: value for name, value in values.items() if name not in known}
    unknown = {name: value for name, value in unknown.items() if value not in (None, [], {})}
    return [heading(title, 4), pairs(formats.facts(unknown))] if unknown else []


def _row(metric: Mapping[str, Any]) -> list[Block]:
    extra = {name: value for name, value in metric.items() if name not in _KNOWN_METRIC}
    notes = [note(metric["note"])] if metric.get("note") else []
    notes += [note(f"{name}: {text}") for name, text in formats.facts(extra) if extra]
    ends = formats.interval(metric.get("interval"))
    why = [note(metric["interval_note"])] if metric.get("interval_note") else []
    return [
        cell([{"t": str(metric.get("label") or metric["name"]), "s": "strong"}, *_name(metric), *notes]),
        figures(formats.number(metric.get("n"))),
        figures(formats.number(metric.get("original"))),
        figures(formats.number(metric.get("candidate"))),
        cell([ends, *why]),
        figures(formats.spread(metric.get("references"))),
        cell(svg=charts.metric_strip(metric)),
    ]


def _name(metric: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{**code(metric["name"]), "s": "key"}]
