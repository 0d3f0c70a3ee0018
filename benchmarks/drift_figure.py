"""The drift as a picture: λ of the version in use on all of E, step by step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = {"muda": "#1a7f5a", "distilled_recovery": "#2f6db3", "retrain": "#333333"}


def draw_figure(report: Mapping[str, Any], path: Path) -> None:
    """Write an SVG with a point and its bounds for every step; equal reports give equal bytes."""
    rows = [row for row in report["rows"] if row["drift"]["influence"] is not None]
    with mpl.rc_context({"svg.hashsalt": "drift", "font.size": 8, "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots()
        for method, colour in COLOURS.items():
            own = [row for row in rows if row["method"] == method]
            values = [row["drift"]["influence"]["value"] for row in own]
            lower = [row["drift"]["influence"]["lower"] for row in own]
            upper = [row["drift"]["influence"]["upper"] for row in own]
            reach = [
                [value - low for value, low in zip(values, lower, strict=True)],
                [high - value for value, high in zip(values, upper, strict=True)],
            ]
            steps = [row["step"] for row in own]
            axes.errorbar(steps, values, yerr=reach, fmt="o", color=colour, capsize=3, label=method)
        limit = report["drift_limit"]
        axes.axhline(limit, color="#a8323e", linewidth=0.8, linestyle="--", label=f"limit {limit}")
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.set_xticks([row["step"] for row in report["rows"]])
        axes.set_xlabel("request")
        axes.set_ylabel("λ on all of E")
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
        figure.savefig(path, metadata={"Date": None})
