"""Every metric of one part: original and new model against the band of retrained references."""

from textwrap import fill
from typing import Any

from worker.figures.style import (
    BAND,
    CANDIDATE,
    ORIGINAL,
    REFERENCE,
    Figure,
    canvas,
    legend,
    rounded,
    to_svg,
)

MAX_DEVIATION = 1000.0
_LABEL_WIDTH = 34  # characters; the axis needs the rest of the width
_COLUMNS = [
    "metric",
    "n",
    "original",
    "new model",
    "interval from",
    "interval to",
    "references' mean",
    "references' sd",
    "references",
    "decides",
]


def draw(part: dict[str, Any]) -> Figure | None:
    """Draw one part's metrics in standard deviations of the references; the table has values."""
    metrics = [m for m in part["metrics"] if _can_be_placed(m)]
    if not metrics:
        return None
    title = f"Metrics against retrained references ({part['scope']})"
    labels = [fill(f"{m['label']}{' *' if m['gated'] else ''}", _LABEL_WIDTH) for m in metrics]
    lines = sum(1 + label.count("\n") for label in labels)
    with canvas(6.4, 1.2 + 0.07 * len(metrics) + 0.15 * lines) as figure:
        axes = figure.add_subplot()
        axes.axvspan(-2, 2, color=BAND, linewidth=0, label="references ± 2 sd")
        axes.axvline(0, color=REFERENCE, linewidth=1)
        for row, metric in enumerate(metrics):
            _draw_row(axes, row, metric)
        axes.set_yticks(range(len(metrics)), labels, fontsize=7.5)
        axes.set_ylim(len(metrics) - 0.5, -0.5)
        axes.set_xscale("symlog", linthresh=3)
        count = max(m["references"]["n"] for m in metrics)
        axes.set_xlabel(f"standard deviations of {count} references (* decides the verdict)")
        ticks = (-1000, -100, -10, -2, 2, 10, 100, 1000)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        legend(figure, axes)
        svg = to_svg(figure, title)
    rows = [_row(metric) for metric in part["metrics"]]
    return Figure(f"metrics-{part['scope']}", title, _alt(metrics), _COLUMNS, rows, svg)


def _can_be_placed(metric: dict[str, Any]) -> bool:
    spread = metric["references"]
    return spread is not None and metric["candidate"] is not None and bool(spread["sd"])


def _draw_row(axes: Any, row: int, metric: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib
    first = row == 0
    if metric["interval"] is not None:
        ends = [_deviation(metric, end) for end in metric["interval"]]
        axes.plot(ends, [row, row], color=CANDIDATE, linewidth=2)
    if metric["original"] is not None:
        place = _deviation(metric, metric["original"])
        axes.plot(place, row, "^", color=ORIGINAL, label="original" if first else None)
    place = _deviation(metric, metric["candidate"])
    axes.plot(place, row, "o", color=CANDIDATE, label="new model" if first else None)


def _deviation(metric: dict[str, Any], value: float) -> float:
    """Return how many of the references' standard deviations `value` lies from their mean."""
    spread = metric["references"]
    deviation = float((value - spread["mean"]) / spread["sd"])
    return max(-MAX_DEVIATION, min(MAX_DEVIATION, deviation))


def _row(metric: dict[str, Any]) -> list[Any]:
    low, high = metric["interval"] or (None, None)
    spread = metric["references"] or {"mean": None, "sd": None, "n": 0}
    numbers = (metric["original"], metric["candidate"], low, high, spread["mean"], spread["sd"])
    decides = "yes" if metric["gated"] else "no"
    values = [rounded(number) for number in numbers]
    return [metric["label"], metric["n"], *values, spread["n"], decides]


def _alt(metrics: list[dict[str, Any]]) -> str:
    inside = sum(abs(_deviation(m, m["candidate"])) <= 2 for m in metrics)
    before = [m for m in metrics if m["original"] is not None]
    original = sum(abs(_deviation(m, m["original"])) <= 2 for m in before)
    return (
        f"{len(metrics)} metrics in standard deviations of the retrained references. The new model"
        f" lies within two of them on {inside}, the original on {original} of {len(before)}."
    )
