"""Figures: drawn from the result alone, the same bytes always, words and numbers beside."""

import copy
import math
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from worker.figures import draw_all

ATTACK: dict[str, Any] = {
    "rates": [0.001, 0.01, 0.1, 1],
    "original": [0, 0.2, 0.6, 1],
    "candidate": [0, 0.01, 0.1, 1],
    "low": [0, 0, 0.05, 1],
    "high": [0, 0.05, 0.2, 1],
    "num_references": 19,
}


def spread(mean: float, sd: float = 0.02) -> dict[str, Any]:
    return {"mean": mean, "sd": sd, "n": 19, "min": mean - 2 * sd, "max": mean + 2 * sd}


def metric(name: str, original: float, candidate: float, mean: float) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.upper(),
        "n": 100,
        "original": original,
        "candidate": candidate,
        "references": spread(mean),
        "interval": [candidate - 0.03, candidate + 0.03],
        "interval_note": None,
        "gated": name != "fa",
        "note": None,
    }


def part(scope: str) -> dict[str, Any]:
    return {
        "scope": scope,
        "n": 100,
        "verdict": "PASS",
        "influence": {"value": 0.05, "lower": -0.1, "upper": 0.2, "confidence": 0.95},
        "reasons": [],
        "joint_test": None,
        "self_controls": [],
        "metrics": [
            metric("da", 0.9, 0.3, 0.31),
            metric("nmi", 0.95, 0.5, 0.48),
            metric("fa", 1, 0, 0),
        ],
    }


def points(shift: float) -> list[list[float]]:
    return [[shift + math.cos(i), math.sin(i)] for i in range(40)]


def result() -> dict[str, Any]:
    sides = {"retain": points(0), "forget": points(3)}
    spectrum = [1 / (i + 1) ** 2 for i in range(64)]
    models = {"original": spectrum, "candidate": spectrum[:60], "reference": spectrum}
    classes = [
        {
            "class": i,
            "n": 50,
            "original": 0.9,
            "candidate": 0.9 - 0.01 * i,
            "references": spread(0.88),
        }
        for i in range(9)
    ]
    return {
        "parts": [part("class"), part("instance")],
        "collateral": classes,
        "curves": {
            "relearning": {
                "steps": [0, 1, 2, 4],
                "original": [1, 1, 1, 1],
                "candidate": [0, 0.2, 0.5, 0.9],
                "references": [[0, 0.1, 0.5, 0.9], [0, 0.2, 0.4, 0.8]],
                "target": 0.8,
            },
            "spectra": {"retain": models, "forget": models},
            "sweep": {"k": 8, "original": [0.5, 0.9, 1], "candidate": [0.2] * 9, "reference": [1]},
            "attack": ATTACK,
            "projection": {
                "original": sides,
                "candidate": sides,
                "reference": sides,
                "explained": [0.4, 0.2],
            },
        },
    }


def test_every_figure_is_drawn_once_with_words_and_numbers() -> None:
    figures = draw_all(result(), 0.33)
    names = [figure.name for figure in figures]
    assert sorted(names) == [
        "attack",
        "collateral",
        "influence",
        "metrics-class",
        "metrics-instance",
        "projection",
        "relearning",
        "spectra",
        "sweep",
    ]
    for figure in figures:
        assert ET.fromstring(figure.svg).tag.endswith("svg")  # noqa: S314 - our own bytes
        assert len(figure.alt) > 40
        assert figure.rows
        assert {len(row) for row in figure.rows} == {len(figure.columns)}


def test_equal_results_give_equal_bytes() -> None:
    first, second = draw_all(result(), 0.33), draw_all(copy.deepcopy(result()), 0.33)
    assert [figure.svg for figure in first] == [figure.svg for figure in second]


def test_nothing_in_a_drawing_is_fetched_from_elsewhere() -> None:
    for figure in draw_all(result(), 0.33):
        for element in ET.fromstring(figure.svg).iter():  # noqa: S314 - our own bytes
            assert not element.tag.endswith(("script", "image", "foreignObject"))
            links = [value for name, value in element.attrib.items() if name.endswith("href")]
            assert all(link.startswith("#") for link in links)


def test_what_could_not_be_measured_is_left_out() -> None:
    empty = result()
    empty["curves"] = {"relearning": None, "spectra": {}, "projection": None}
    empty["collateral"] = []
    for entry in empty["parts"]:
        entry["influence"] = None
    assert [figure.name for figure in draw_all(empty, 0.33)] == [
        "metrics-class",
        "metrics-instance",
    ]


def test_without_references_the_plane_shows_the_two_models_that_there_are() -> None:
    alone = result()
    del alone["curves"]["projection"]["reference"]
    whole, figure = (
        next(f for f in draw_all(drawn, 0.33) if f.name == "projection")
        for drawn in (result(), alone)
    )
    assert {row[0] for row in whole.rows} - {row[0] for row in figure.rows} == {"reference"}
    assert figure.rows == whole.rows[: len(figure.rows)]
    assert "reference" not in figure.alt
    panels = [drawn.svg.count(b'<g id="axes_') for drawn in (whole, figure)]
    assert panels == [3, 2]


@pytest.mark.parametrize("hole", ["original", "interval", "references", "candidate"])
def test_a_metric_with_a_hole_still_has_its_row(hole: str) -> None:
    holed = result()
    holed["parts"][0]["metrics"][0][hole] = None
    figure = next(f for f in draw_all(holed, 0.33) if f.name == "metrics-class")
    assert len(figure.rows) == 3


def test_references_without_spread_are_not_divided_by() -> None:
    flat = result()
    for entry in flat["parts"][0]["metrics"]:
        entry["references"]["sd"] = 0.0
    assert "metrics-class" not in [figure.name for figure in draw_all(flat, 0.33)]


def test_long_names_leave_the_axis_its_width() -> None:
    """Axes are the widest clip rectangle of a drawing; names must not take the page from it."""
    widths = []
    for label in ("DA", "Difference of predictions on hold-out samples of the forgotten classes"):
        long = result()
        for entry in long["parts"][0]["metrics"]:
            entry["label"] = label
        figure = next(f for f in draw_all(long, 0.33) if f.name == "metrics-class")
        clips = ET.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}clipPath")  # noqa: S314
        widths.append(max(float(rect.attrib["width"]) for clip in clips for rect in clip))
    assert widths[1] > 0.5 * widths[0] > 100


def test_relearning_shows_the_range_of_the_references() -> None:
    figure = next(f for f in draw_all(result(), 0.33) if f.name == "relearning")
    assert b"FillBetweenPolyCollection" in figure.svg or b"PolyCollection" in figure.svg
    alone = result()
    alone["curves"]["relearning"]["references"] = []
    bare = next(f for f in draw_all(alone, 0.33) if f.name == "relearning")
    assert b"PolyCollection" not in bare.svg
