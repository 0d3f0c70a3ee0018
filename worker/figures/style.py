"""What all figures share: colours, sizes, and an SVG that is the same bytes every time."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

# Okabe and Ito (2008): told apart with every common colour blindness; shapes differ as well.
ORIGINAL = "#D55E00"
CANDIDATE = "#0072B2"
REFERENCE = "#666666"
BAND = "#DDDDDD"
FORGET = "#E69F00"

_SETTINGS: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",  # bundled with matplotlib, so that text has the same shape
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "expunge",
}


@dataclass(frozen=True)
class Figure:
    """One figure with the words and numbers that say the same without eyes.

    Attributes:
        svg: The drawing.
        alt: What it shows, in one or two sentences.
        columns: Headings of the data table.
        rows: Its rows: numbers, strings and None.
    """

    name: str
    title: str
    alt: str
    columns: list[str]
    rows: list[list[Any]]
    svg: bytes


@contextmanager
def canvas(width: float, height: float) -> Iterator[Canvas]:
    """Give a blank canvas (inches) under the common settings; nothing global stays changed."""
    with mpl.rc_context(_SETTINGS):
        yield Canvas(figsize=(width, height), layout="constrained")


def to_svg(figure: Canvas, title: str) -> bytes:
    """Return the figure as SVG without a date, so that equal figures are equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": "Expunge", "Title": title}
    figure.savefig(buffer, format="svg", metadata=metadata)
    return buffer.getvalue()


def legend(figure: Canvas, axes: Axes) -> None:
    """Put the axes' legend above all of the figure, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8)


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Round a number for a table to significant digits; None stays None."""
    return None if value is None else float(f"{value:.{digits}g}")


def percent(value: float) -> str:
    """Write a share as a percentage with one decimal."""
    return f"{100 * value:.1f} %"


def thinned(values: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` of the values, evenly spread, first and last included."""
    if len(values) <= most:
        return list(values)
    step = (len(values) - 1) / (most - 1)
    return [values[round(number * step)] for number in range(most)]
