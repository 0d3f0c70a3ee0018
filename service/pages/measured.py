"""Tables of what was measured; rows and members that this code has never heard of included."""

from collections.abc import Mapping
from typing import Any

from service.pages import charts, formats
from service.pages.blocks import (
    Block,
    cell,
    figures,
    heading,
    keep,
    note,
    pairs,
    paragraph,
    strong,
    styled,
    table,
)
from service.pages.view import mark, yes

_HEAD = ("Metric", "n", "Before", "New", "Interval", "References: mean ± sd (n)", "")
_KNOWN_METRIC = frozenset(("name", "label", "n", "original", "candidate", "references")) | {
    "interval",
    "interval_note",
    "gated",
    "note",
}
_KNOWN_PART = frozenset(("scope", "n", "verdict", "direction", "influence", "reasons")) | {
    "joint_test",
    "self_controls",
    "metrics",
    "resolution",
}
CONTROL_NAMES = {
    "untouched": "the model before, unchanged",
    "head_masked": "its last layer masked",
    "head_refitted": "its last layer refitted",
    "channels_rescaled": "its channels rescaled",
}


def part_of_audit(part: Mapping[str, Any]) -> list[Block]:
    """Return what was found for the whole classes, or for the single samples."""
    title = f"{formats.capital(str(part['scope']))} part · {formats.number(part['n'])} samples · "
    made = [heading([title, mark(part["verdict"])])]
    made += [paragraph(reason) for reason in part.get("reasons") or ()]
    if part.get("influence"):
        told = formats.influence(part["influence"])
        made.append(paragraph(["Remaining influence λ with its bounds: ", strong(told), "."]))
    made += _resolution(part.get("resolution"))
    made += [*_joint(part.get("joint_test")), *_controls(part.get("self_controls"))]
    made += metrics(part)
    return [*made, *others(part, _KNOWN_PART, "Also recorded for this part")]


def _resolution(resolution: Mapping[str, Any] | None) -> list[Block]:
    """Return in words what the audit's references could tell apart."""
    if not resolution:
        return []
    smallest = formats.number(resolution.get("smallest"))
    told: list[Any] = ["The smallest influence that this audit could have seen: ", strong(smallest)]
    if resolution.get("bounded") is not None:
        told.append(
            f". A model without any influence gets an upper bound of "
            f"{formats.number(resolution['bounded'])}; the policy's limit is "
            f"{formats.number(resolution.get('limit'))}"
        )
    if resolution.get("rejected") is not None:
        told.append(
            f". Nine in ten models with an influence of {formats.number(resolution['rejected'])} "
            "would be rejected by the joint test"
        )
    return [paragraph([*told, "."])]


def _joint(test: Mapping[str, Any] | None) -> list[Block]:
    if not test:
        return []
    text: list[Any] = [
        "Is the new model further from the others than any model trained without the samples? ",
        "Rank ",
        strong(test["rank"]),
        f" of {test['n'] + 1} (1 is the furthest), p = {formats.number(test['p_value'])}: ",
        yes(not test["rejected"], "not rejected", "rejected"),
        f". It looks at {', '.join(test['gates'])}.",
    ]
    text += [f" {gone['name']} was left out: {gone['why']}." for gone in test.get("dropped") or ()]
    return [heading("Joint test", 4), paragraph(text)]


def _controls(controls: Any) -> list[Block]:  # noqa: ANN401 - JSON
    if not controls:
        return []
    rows = [
        [
            cell(strong(CONTROL_NAMES.get(control["name"], formats.words(control["name"])))),
            cell("rejected" if control["rejected"] else "not rejected"),
            cell(keep(formats.influence(control.get("influence")))),
            cell(yes(control["ok"], "yes", "no: no power here")),
        ]
        for control in controls
    ]
    return [
        heading("Self-controls", 4),
        paragraph("The same audit must catch models that only hide what they know."),
        table("Self-controls", ("Control", "Joint test", "Influence [95 %]", "Caught"), rows),
    ]


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
    extra = {
        name: value
        for name, value in metric.items()
        if name not in _KNOWN_METRIC and value is not None
    }
    notes = [note(metric["note"])] if metric.get("note") else []
    notes += [note(f"{name}: {text}") for name, text in formats.facts(extra) if extra]
    ends = keep(formats.interval(metric.get("interval")))
    why = [note(metric["interval_note"])] if metric.get("interval_note") else []
    return [
        cell(
            [
                strong(metric.get("label") or metric["name"]),
                styled("key", metric["name"]),
                *notes,
            ]
        ),
        figures(formats.number(metric.get("n"))),
        figures(formats.number(metric.get("original"))),
        figures(formats.number(metric.get("candidate"))),
        cell([ends, *why]),
        figures(formats.spread(metric.get("references"))),
        cell(svg=charts.metric_strip(metric)),
    ]
