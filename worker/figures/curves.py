"""Relearning curves and eigen-spectra: lines for original, new model and references."""

from collections.abc import Sequence
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
    thinned,
    to_svg,
)

RELEARNING = "Relearning the forgotten samples"
SPECTRA = "Eigenvalues of the features' covariance"
_MAX_ROWS = 24
_LINES = (("original", "original", ORIGINAL, "--"), ("candidate", "new model", CANDIDATE, "-"))


def draw_relearning(result: dict[str, Any]) -> Figure | None:
    """Draw how fast each model learns the forgotten samples again."""
    curves = result["curves"].get("relearning")
    if not curves:
        return None
    steps, references = curves["steps"], curves["references"]
    with canvas(6.4, 3.2) as figure:
        axes = figure.add_subplot()
        _draw_band(axes, steps, references)
        for key, label, colour, style in _LINES:
            values = curves[key]
            axes.plot(steps[: len(values)], values, style, color=colour, label=label, linewidth=2)
        if curves.get("target") is not None:
            axes.axhline(curves["target"], color="black", linewidth=1, linestyle=":")
        axes.set_xlabel("optimiser steps on the forgotten samples")
        axes.set_ylabel("accuracy on the forgotten samples")
        legend(figure, axes)
        svg = to_svg(figure, RELEARNING)
    lines = [curves["original"], curves["candidate"], *references]
    numbers = [f"reference {number + 1}" for number in range(len(references))]
    columns = ["step", "original", "new model", *numbers]
    alt = (
        "Accuracy on the forgotten samples while each model is trained on them again: original,"
        f" new model and {len(references)} retrained references. Whoever still knows them starts"
        " higher or rises sooner."
    )
    return Figure("relearning", RELEARNING, alt, columns, _table(steps, lines), svg)


def _draw_band(axes: Any, steps: Sequence[float], references: Sequence[Sequence[float]]) -> None:  # noqa: ANN401
    """Draw the references' range and their lines: with few of them no quantile says more."""
    if not references:
        return
    length = min(len(steps), *(len(values) for values in references))
    columns = list(zip(*(values[:length] for values in references), strict=True))
    lows, highs = [min(column) for column in columns], [max(column) for column in columns]
    label = f"range of {len(references)} references"
    axes.fill_between(steps[:length], lows, highs, color=BAND, linewidth=0, label=label)
    for values in references:
        axes.plot(steps[: len(values)], values, color=REFERENCE, linewidth=1)


def draw_spectra(result: dict[str, Any]) -> Figure | None:
    """Draw the eigenvalues for retain and forget set on a logarithmic axis."""
    spectra = {name: s for name, s in (result["curves"].get("spectra") or {}).items() if s}
    if not spectra:
        return None
    names = sorted(spectra, reverse=True)
    with canvas(6.4, 3.0) as figure:
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _draw_spectrum(axes, spectra[name])
            axes.set_title(f"{name} set")
            axes.set_xlabel("eigenvalue, by size")
        panels[0].set_ylabel("value")
        legend(figure, panels[0])
        svg = to_svg(figure, SPECTRA)
    rows = [
        [name, *row]
        for name in names
        for row in _table(
            range(1, 1 + max(len(values) for values in spectra[name].values())),
            [spectra[name].get(key, []) for key in ("original", "candidate", "reference")],
        )
    ]
    columns = ["set", "eigenvalue", "original", "new model", "reference"]
    alt = (
        "Eigenvalues of the covariance of the penultimate features, largest first, for the"
        f" {' and the '.join(names)} set: original, new model and, where there is one, a retrained"
        " reference."
    )
    return Figure("spectra", SPECTRA, alt, columns, rows, svg)


def _draw_spectrum(axes: Any, spectrum: dict[str, list[float]]) -> None:  # noqa: ANN401
    lines = (*_LINES, ("reference", "reference", REFERENCE, ":"))
    for key, label, colour, style in lines:
        if key not in spectrum:
            continue
        values = [max(value, 1e-12) for value in spectrum[key]]
        axes.plot(range(1, len(values) + 1), values, style, color=colour, label=label)
    axes.set_yscale("log")


def _table(steps: Sequence[float], lines: Sequence[Sequence[float]]) -> list[list[Any]]:
    """Return rows of a step and every line's value there, thinned out to a readable number."""
    rows = [
        [step, *(rounded(line[place]) if place < len(line) else None for line in lines)]
        for place, step in enumerate(steps)
    ]
    return thinned(rows, _MAX_ROWS)
