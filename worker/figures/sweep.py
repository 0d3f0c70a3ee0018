"""Dimensional alignment for every number of leading directions, not only the one that gates."""

from typing import Any

from worker.figures.style import (
    CANDIDATE,
    ORIGINAL,
    REFERENCE,
    Figure,
    canvas,
    legend,
    rounded,
    thinned,
    to_svg,
)

TITLE = "Dimensional alignment over the number of directions"
_MODELS = (
    ("original", "original", ORIGINAL, "--"),
    ("candidate", "new model", CANDIDATE, "-"),
    ("reference", "reference", REFERENCE, ":"),
)
_MAX_ROWS = 24


def draw(result: dict[str, Any]) -> Figure | None:
    """Draw the share of the forget features' energy in the k leading directions, for every k."""
    sweep = result["curves"].get("sweep") or {}
    models = [model for model in _MODELS if sweep.get(model[0])]
    if not models:
        return None
    with canvas(6.4, 3.0) as figure:
        axes = figure.add_subplot()
        for key, label, colour, style in models:
            values = sweep[key]
            axes.plot(range(1, len(values) + 1), values, style, color=colour, label=label)
        if sweep.get("k"):
            axes.axvline(sweep["k"], color="black", linewidth=1, linestyle=":")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(f"directions k (dotted: the reported k = {sweep.get('k')})")
        axes.set_ylabel("alignment of the forget set")
        legend(figure, axes)
        svg = to_svg(figure, TITLE)
    length = max(len(sweep[model[0]]) for model in models)
    rows = [[k + 1, *(_at(sweep[model[0]], k) for model in models)] for k in range(length)]
    columns = ["k", *(model[1] for model in models)]
    return Figure("sweep", TITLE, _alt(sweep, models), columns, thinned(rows, _MAX_ROWS), svg)


def _at(values: list[float], place: int) -> float | None:
    return rounded(values[place]) if place < len(values) else None


def _alt(sweep: dict[str, Any], models: list[tuple[str, str, str, str]]) -> str:
    k = sweep.get("k") or 0
    told = [
        f"{label} {sweep[key][k - 1]:.2f}"
        for key, label, _, _ in models
        if 0 < k <= len(sweep[key])
    ]
    at = f" At k = {k}: {', '.join(told)}." if told else ""
    return f"Lines rising from 0 to 1 as more directions of the retain set are counted.{at}"
