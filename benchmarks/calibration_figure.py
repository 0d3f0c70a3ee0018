"""The calibration as a picture: what share of each control's audits ended how."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = {
    "pass": "#1a7f5a",
    "nothing_to_remove": "#8fb8a8",
    "inconclusive": "#c9a227",
    "fail": "#a8323e",
}


def draw_figure(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write an SVG with a bar of verdict shares for every row; equal rows give equal bytes."""
    shown = [row for row in rows if row["dataset"] != "all"]
    with mpl.rc_context({"svg.hashsalt": "calibration", "font.size": 8, "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 0.22 * len(shown) + 1.2), layout="constrained")
        axes = figure.subplots()
        labels = [f"{row['dataset']}, {row['scope']}: {row['control']}" for row in shown]
        left = [0.0] * len(shown)
        for verdict, colour in COLOURS.items():
            shares = [row[verdict] / row["n"] for row in shown]
            axes.barh(labels, shares, left=left, color=colour, label=verdict.replace("_", " "))
            left = [a + b for a, b in zip(left, shares, strict=True)]
        for place, row in enumerate(shown):
            axes.text(1.01, place, f"n {row['n']}, {row['draws']} draws", va="center", fontsize=7)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of audits")
        figure.legend(loc="outside upper center", ncols=len(COLOURS), frameon=False)
        figure.savefig(path, metadata={"Date": None})
