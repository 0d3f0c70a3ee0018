"""The figure that a reader remembers: how much influence of the samples remains."""

from typing import Any

from worker.figures.style import CANDIDATE, ORIGINAL, REFERENCE, Figure, canvas, rounded, to_svg

TITLE = "Remaining influence of the forgotten samples"
_COLUMNS = ["part", "samples", "remaining influence", "lower bound", "upper bound", "limit"]


def draw(result: dict[str, Any], limit: float) -> Figure | None:
    """Place each part's candidate between a retrained model (0) and the original (1).

    Args:
        result: AuditResult JSON.
        limit: The policy's limit for the upper bound.
    """
    parts = [part for part in result["parts"] if part["influence"] is not None]
    if not parts:
        return None
    with canvas(6.4, 1.1 + 0.55 * len(parts)) as figure:
        axes = figure.add_subplot()
        axes.axvline(0, color=REFERENCE, linewidth=1)
        axes.axvline(1, color=ORIGINAL, linewidth=1)
        axes.axvline(limit, color="black", linewidth=1, linestyle="--")
        for row, part in enumerate(parts):
            place = part["influence"]
            axes.plot([place["lower"], place["upper"]], [row, row], color=CANDIDATE, linewidth=3)
            axes.plot(place["value"], row, "o", color=CANDIDATE, markersize=8)
        axes.set_yticks(range(len(parts)), [f"{p['scope']} (n = {p['n']})" for p in parts])
        axes.set_ylim(len(parts) - 0.5, -0.5)
        bounds = [part["influence"][side] for part in parts for side in ("lower", "upper")]
        axes.set_xlim(min(-0.2, *bounds) - 0.05, max(1.2, *bounds) + 0.05)
        axes.set_xlabel(f"0 = retrained without them, 1 = original; dashed: the limit {limit:g}")
        svg = to_svg(figure, TITLE)
    return Figure("influence", TITLE, _alt(parts, limit), _COLUMNS, _rows(parts, limit), svg)


def _rows(parts: list[dict[str, Any]], limit: float) -> list[list[Any]]:
    sides = ("value", "lower", "upper")
    return [
        [p["scope"], p["n"], *(rounded(p["influence"][side]) for side in sides), limit]
        for p in parts
    ]


def _alt(parts: list[dict[str, Any]], limit: float) -> str:
    words = [
        f"{p['scope']}: {p['influence']['value']:.2f}, between {p['influence']['lower']:.2f} and"
        f" {p['influence']['upper']:.2f}"
        for p in parts
    ]
    return (
        "An axis from 0 (a model retrained without the samples) to 1 (the original) with the new"
        f" model's place. {'; '.join(words)}. The limit is {limit:g}."
    )
