"""What the remaining classes paid: accuracy of each against the retrained references."""

from typing import Any

from worker.figures.style import CANDIDATE, ORIGINAL, Figure, canvas, percent, rounded, to_svg

TITLE = "Accuracy of each class, new model against retrained references"
MAX_CLASSES = 40
_COLUMNS = ["class", "n", "original", "new model", "references' mean", "references' sd"]


def draw(result: dict[str, Any]) -> Figure | None:
    """Draw each class's difference, sorted; of many classes those that differ most."""
    classes = [c for c in result["collateral"] if _difference(c) is not None]
    if not classes:
        return None
    shown = sorted(classes, key=lambda c: -abs(_difference(c) or 0.0))[:MAX_CLASSES]
    shown.sort(key=lambda c: _difference(c) or 0.0)
    differences = [100 * (_difference(c) or 0.0) for c in shown]
    with canvas(6.4, 1.0 + 0.22 * len(shown)) as figure:
        axes = figure.add_subplot()
        colours = [ORIGINAL if value < 0 else CANDIDATE for value in differences]
        places = range(len(shown))
        spreads = [200 * c["references"]["sd"] for c in shown]
        axes.barh(places, differences, color=colours, xerr=spreads, ecolor="black", capsize=2)
        axes.axvline(0, color="black", linewidth=1)
        axes.set_yticks(places, [f"{c['class']} (n = {c['n']})" for c in shown])
        axes.set_xlabel("difference in percentage points (bars' lines: 2 sd of the references)")
        svg = to_svg(figure, TITLE)
    return Figure("collateral", TITLE, _alt(classes), _COLUMNS, [_row(c) for c in classes], svg)


def _difference(entry: dict[str, Any]) -> float | None:
    spread = entry["references"]
    if spread is None or entry["candidate"] is None or spread["mean"] is None:
        return None
    return float(entry["candidate"] - spread["mean"])


def _row(entry: dict[str, Any]) -> list[Any]:
    spread = entry["references"]
    numbers = (entry["original"], entry["candidate"], spread["mean"], spread["sd"])
    return [str(entry["class"]), entry["n"], *(rounded(number) for number in numbers)]


def _alt(classes: list[dict[str, Any]]) -> str:
    worst = min(classes, key=lambda c: _difference(c) or 0.0)
    return (
        f"Bars for {len(classes)} classes. The new model differs most downwards from the"
        f" references on class {worst['class']}: {percent(worst['candidate'])} against"
        f" {percent(worst['references']['mean'])}."
    )
