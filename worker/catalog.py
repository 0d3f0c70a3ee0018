"""Describe the methods' hyper-parameters for the service, which cannot import them.

    python -m worker.catalog        # writes service/methods.json

Types, choices and defaults are read from the dataclasses. Their ranges are code, so each bound is
found by bisection: the last value that the class refuses and the first that it takes. A bound that
moves with another field is left out; such rules for two fields are checked by the worker alone.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, fields
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from unlearning.methods import METHODS, Method

CATALOG = Path(__file__).resolve().parents[1] / "service" / "methods.json"
FARTHEST = 10**12
"""A number that is taken here has no bound on that side."""
_NAMES = {float: "number", int: "integer", bool: "boolean", str: "string"}
_STARTS = (1, 2, 0, 10, 0.5)  # tried where the default is None


def describe(methods: Mapping[str, type[Method]] = METHODS) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every hyper-parameter of every method.

    Raises:
        ValueError: a hyper-parameter of a type that JSON has not, naming it.
    """
    return {
        name: {field.name: _schema(methods[name], field) for field in fields(methods[name])}
        for name in sorted(methods)
    }


def text() -> str:
    """Return the content of the catalogue's file."""
    return json.dumps(describe(), indent=1, ensure_ascii=False) + "\n"


def _schema(method: type[Method], field: Field[Any]) -> dict[str, Any]:
    default = field.default
    if get_origin(field.type) is Literal:
        return {"enum": list(get_args(field.type)), "default": default}
    parts, kinds = get_args(field.type), _kinds(field)
    if len(kinds) != 1 or kinds[0] not in _NAMES:
        raise ValueError(f"{method.name}: {field.name} is of type {field.type}; use one of JSON's")
    name = _NAMES[kinds[0]]
    schema: dict[str, Any] = {"type": [name, "null"] if type(None) in parts else name}
    if kinds[0] in (int, float):
        schema |= _bounds(method, field.name, kinds[0], default)
    return {**schema, "default": default}


def _kinds(field: Field[Any]) -> list[Any]:
    """Return the types of a field's values, None left out."""
    parts = get_args(field.type) if isinstance(field.type, UnionType) else (field.type,)
    return [part for part in parts if part is not type(None)]


def _bounds(method: type[Method], name: str, kind: type, default: object) -> dict[str, float]:
    """Return the bounds beyond which the class takes no number, whatever the other fields are."""

    def takes(others: Mapping[str, float], value: float) -> bool:
        try:
            method(**others, **{name: kind(value)})
        except ValueError:
            return False
        return True

    starts = (default, *_STARTS) if isinstance(default, int | float) else _STARTS
    start = next((kind(value) for value in starts if takes({}, kind(value))), None)
    found: dict[str, float] = {}
    if start is None:
        return found
    for side, end in (("Minimum", kind(-FARTHEST)), ("Maximum", kind(FARTHEST))):
        edge = _edge(takes, start, end, _others(method, name))
        if edge is not None:
            refused, taken = edge
            inclusive = len(repr(taken)) <= len(repr(refused))
            key = side.lower() if inclusive else f"exclusive{side}"
            found[key] = taken if inclusive else refused
    return found


def _others(method: type[Method], name: str) -> Iterator[dict[str, float]]:
    """Yield settings of the other numeric fields: all at their defaults, then each away from it."""
    yield {}
    for field in fields(method):
        kind = next(iter(_kinds(field)))
        if field.name != name and kind in (int, float):
            for value in (-FARTHEST, *_STARTS, FARTHEST):
                yield {field.name: kind(value)}


def _edge(
    takes: Callable[[Mapping[str, float], float], bool],
    start: float,
    end: float,
    settings: Iterable[Mapping[str, float]],
) -> tuple[float, float] | None:
    """Return the last number that is refused in all settings and the first that is taken in one.

    None where there is no bound. A bound that moves with another field is a rule for the two.
    """
    refused = taken = start
    for others in settings:
        if takes(others, end):
            return None
        if takes(others, refused):
            refused, taken = _bisect(partial(takes, others), end, refused)
    return refused, taken


def _bisect(takes: Callable[[float], bool], refused: float, taken: float) -> tuple[float, float]:
    """Return neighbouring numbers, the last that is refused and the first that is taken."""
    whole = isinstance(taken, int)
    while True:
        middle = (refused + taken) // 2 if whole else refused + (taken - refused) / 2
        if middle in (refused, taken):
            return refused, taken
        refused, taken = (refused, middle) if takes(middle) else (middle, taken)


if __name__ == "__main__":
    CATALOG.write_text(text(), encoding="utf-8")
