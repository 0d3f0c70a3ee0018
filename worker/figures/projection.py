"""Features of retain and forget samples in one shared plane, model by model."""

from typing import Any

from worker.figures.style import FORGET, REFERENCE, Figure, canvas, legend, rounded, to_svg

TITLE = "Features in one shared projection"
_MODELS = (("original", "original"), ("candidate", "new model"), ("reference", "reference"))
_COLUMNS = ["model", "set", "points", "mean, axis 1", "mean, axis 2", "sd, axis 1", "sd, axis 2"]


def draw(result: dict[str, Any]) -> Figure | None:
    """Draw the samples of both sets as each model sees them; all panels share their axes."""
    projection = result["curves"].get("projection")
    if not projection:
        return None
    models = _shown(projection)
    with canvas(6.4, 2.8) as figure:
        panels = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (key, label) in zip(panels, models, strict=True):
            _scatter(axes, projection[key]["retain"], ".", REFERENCE, "retain set")
            _scatter(axes, projection[key]["forget"], "^", FORGET, "forget set")
            axes.set_title(label)
            axes.tick_params(labelbottom=False, labelleft=False)
        explained = projection["explained"]
        panels[0].set_ylabel(f"axis 2 ({100 * explained[1]:.0f} % of variance)")
        panels[len(models) // 2].set_xlabel(f"axis 1 ({100 * explained[0]:.0f} % of variance)")
        legend(figure, panels[0])
        svg = to_svg(figure, TITLE)
    alt = (
        f"Scatter plots with common axes: {', '.join(label for _, label in models)}."
        " Where the model was never trained on the forget set, its points lie among others instead"
        " of in a cluster of their own."
    )
    return Figure("projection", TITLE, alt, _COLUMNS, _rows(projection), svg)


def _shown(projection: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the models that there are points of: without references there is none of these."""
    return [(key, label) for key, label in _MODELS if key in projection]


def _scatter(axes: Any, points: list[list[float]], marker: str, colour: str, label: str) -> None:  # noqa: ANN401
    across, up = zip(*points, strict=True) if points else ((), ())
    axes.plot(across, up, marker, color=colour, markersize=3, alpha=0.7, label=label)


def _rows(projection: dict[str, Any]) -> list[list[Any]]:
    return [
        [label, name, len(projection[key][name]), *_summary(projection[key][name])]
        for key, label in _shown(projection)
        for name in ("retain", "forget")
    ]


def _summary(points: list[list[float]]) -> list[float | None]:
    """Return mean and standard deviation of both coordinates."""
    if not points:
        return [None] * 4
    columns = list(zip(*points, strict=True))
    means = [sum(column) / len(column) for column in columns]
    spreads = [
        (sum((value - mean) ** 2 for value in column) / len(column)) ** 0.5
        for column, mean in zip(columns, means, strict=True)
    ]
    return [rounded(value) for value in (*means, *spreads)]
