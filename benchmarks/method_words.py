"""Summaries of a table of methods, on screen and as Markdown."""

import math
import statistics
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.draw_log import Entry

COLUMNS = (
    "influence",
    "upper",
    "gap",
    "da",
    "log_rho",
    "stage.da",
    "stage.log_rho",
    "probe",
    "ncc",
    "relearn",
    "attack",
    "rmia",
    "confidence_gap",
    "holdout",
)
SHOWN = {
    "influence": "λ",
    "upper": "bound",
    "gap": "gap",
    "probe": "probe",
    "relearn_ratio": "relearn (n)",
    "attack": "attack",
    "holdout": "hold-out",
    "retrain_ratio": "of one retraining",
}
AWAY = {
    "da": "da",
    "log_rho": "log ρ",
    "stage.da": "da, stage before",
    "stage.log_rho": "log ρ, stage before",
    "ncc": "NCC",
    "rmia": "RMIA",
    "confidence_gap": "confidence gap",
    "rank": "rank",
    "normalised_margin": "margin",
}
"""Figures that are shown as differences from the references' mean."""


def summarise(rows: Sequence[Entry]) -> list[Entry]:
    """Return mean ± sd over draws and seeds for each data set, scope and method.

    `classes_passed` counts draws in which more than half of the seeds PASS; `retrain_ratio` is
    read against the mean retraining of the same draw. `relearn_ratio` is read against its
    references, for the draws in which all of them relearnt; candidates that had not when the
    experiment ended count with its last step, so the mean is `at_least` that.
    """
    whole = _retrainings(rows)
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], _kind(row), row["method"]), []).append(row)
    return [
        {
            "dataset": dataset,
            "request": request,
            "method": method,
            "n": len(group),
            "draws": len({row["draw"] for row in group}),
            "pass": sum(row["verdict"] == "PASS" for row in group),
            "verdicts": _counts(row["verdict"] for row in group),
            "classes_passed": _most_passed(group),
            **{name: _spread(row.get(name) for row in group) for name in COLUMNS},
            "retrain_ratio": _spread(_ratio(row, whole) for row in group),
            **{f"{name}.away": _spread(_away(row, name) for row in group) for name in AWAY},
            "relearn_ratio": {
                **_spread(_relearnt(row) for row in group),
                "at_least": any("relearn.censored" in row and _relearnt(row) for row in group),
            },
        }
        for (dataset, request, method), group in groups.items()
    ]


def print_table(summary: Sequence[Entry]) -> None:
    """Print the summary."""
    table = Table("data set", "request", "method", "n", "PASS", *SHOWN.values())
    for row in summary:
        cells = [_cell(row[name]) for name in SHOWN]
        share = f"{row['pass'] / row['n']:.2f}"
        table.add_row(row["dataset"], row["request"], row["method"], str(row["n"]), share, *cells)
    Console(width=190).print(table)


def markdown(summary: Iterable[Entry], request: str) -> str:
    """Return the rows of one request as a Markdown table, as README and docs quote it."""
    rows = [row for row in summary if row["request"] == request]
    return _lines(
        ["method", "PASS of n", *SHOWN.values()],
        (
            [row["method"], f"{row['pass']} of {row['n']}", *(_cell(row[name]) for name in SHOWN)]
            for row in rows
        ),
    )


def markdown_away(summary: Iterable[Entry], request: str) -> str:
    """Return how far the rows of one request lie from their references, as a Markdown table."""
    rows = [row for row in summary if row["request"] == request]
    known = [name for name in AWAY if any(row[f"{name}.away"]["n"] for row in rows)]
    return _lines(
        ["method", *(AWAY[name] for name in known)],
        ([row["method"], *(_cell(row[f"{name}.away"]) for name in known)] for row in rows),
    )


def _lines(head: list[str], rows: Iterable[list[str]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _kind(row: Entry) -> str:
    return "one class" if row["scope"] == "class" else str(row["request"])


def _retrainings(rows: Sequence[Entry]) -> dict[tuple[str, int], float]:
    """Return mean seconds of a retraining for each data set and draw."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if row["method"] == "retrain" and row["seconds"] is not None:
            found.setdefault((row["dataset"], row["draw"]), []).append(row["seconds"])
    return {key: statistics.fmean(seconds) for key, seconds in found.items()}


def _ratio(row: Entry, whole: dict[tuple[str, int], float]) -> float | None:
    one = whole.get((row["dataset"], row["draw"]))
    return None if one is None or row["seconds"] is None else row["seconds"] / one


def _relearnt(row: Entry) -> float | None:
    steps, usual = row.get("relearn"), row.get("relearn.references")
    return steps / usual if steps is not None and usual else None


def _away(row: Entry, name: str) -> float | None:
    value, usual = row.get(name), row.get(f"{name}.references")
    return None if value is None or usual is None else value - usual


def _most_passed(group: Sequence[Entry]) -> int:
    by_draw: dict[int, list[bool]] = {}
    for row in group:
        by_draw.setdefault(row["draw"], []).append(row["verdict"] == "PASS")
    return sum(sum(passed) * 2 > len(passed) for passed in by_draw.values())


def _counts(verdicts: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict] = counts.get(verdict, 0) + 1
    return counts


def _spread(values: Iterable[float | None]) -> Entry:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return {"mean": None, "sd": None, "n": 0}
    return {
        "mean": statistics.fmean(known),
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "n": len(known),
    }


def _cell(spread: Entry) -> str:
    if spread["mean"] is None:
        return "–"
    text = f"{spread['mean']:.2f} ± {spread['sd'] or 0:.2f}"
    if "at_least" not in spread:
        return text
    return f"{'≥ ' if spread['at_least'] else ''}{text} ({spread['n']})"
