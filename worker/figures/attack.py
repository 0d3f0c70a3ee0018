"""The population attack on logarithmic axes: what it catches at few false alarms counts most."""

from typing import Any

from worker.figures.style import (
    BAND,
    CANDIDATE,
    ORIGINAL,
    Figure,
    canvas,
    legend,
    rounded,
    thinned,
    to_svg,
)

TITLE = "Membership inference: what a loss attack catches"
_SMALLEST = 1e-3
_MAX_ROWS = 16
_LINES = (("original", "original", ORIGINAL, "--"), ("candidate", "new model", CANDIDATE, "-"))


def draw(result: dict[str, Any]) -> Figure | None:
    """Draw true positives against false alarms for both models, with the references' range."""
    curve = result["curves"].get("attack")
    if not curve:
        return None
    rates = curve["rates"]
    with canvas(6.4, 3.4) as figure:
        axes = figure.add_subplot()
        if curve.get("low"):
            low, high = ([max(y, _SMALLEST) for y in curve[name]] for name in ("low", "high"))
            label = f"range of {curve['num_references']} references"
            axes.fill_between(rates, low, high, color=BAND, linewidth=0, label=label)
        axes.plot(rates, rates, ":", color="black", linewidth=1, label="guessing")
        for key, label, colour, style in _LINES:
            shown = [max(y, _SMALLEST) for y in curve[key]]
            axes.plot(rates, shown, style, color=colour, label=label, linewidth=2)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("hold-out samples taken for members")
        axes.set_ylabel("forget samples recognised")
        legend(figure, axes)
        svg = to_svg(figure, TITLE)
    names = ["original", "candidate", *(name for name in ("low", "high") if curve.get(name))]
    rows = [
        [rate, *(rounded(curve[name][place]) for name in names)] for place, rate in enumerate(rates)
    ]
    heads = {"candidate": "new model", "low": "lowest reference", "high": "highest reference"}
    columns = ["false alarms", *(heads.get(name, name) for name in names)]
    alt = (
        "Share of the forget samples that a loss attack takes for members against the share of "
        "hold-out samples that it wrongly takes for them, both on logarithmic axes: original and "
        f"new model, and the range of {curve['num_references']} retrained references. A model that "
        "never saw the samples lies about on the diagonal."
    )
    return Figure("attack", TITLE, alt, columns, thinned(rows, _MAX_ROWS), svg)
