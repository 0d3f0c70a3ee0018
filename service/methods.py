"""Which methods a ladder may name and with which hyper-parameters, known without torch.

`methods.json` describes Expunge's own methods; `python -m worker.catalog` writes it and a test
compares it with `unlearning.methods.METHODS`. Plug-ins are known by name alone: their entry points
are read, never loaded, so only a worker can check their hyper-parameters.
"""

import json
import sys
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any

PLUGIN_GROUP = "expunge.methods"
Schema = dict[str, Any]
_TYPES = {"number": (int, float), "integer": (int,), "boolean": (bool,), "string": (str,)}


class BadHyperparameter(ValueError):
    """A hyper-parameter that the method lacks, or a value that it does not take."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} {why}")
        self.name = name


@cache
def catalog() -> Mapping[str, Mapping[str, Schema]]:
    """Return Expunge's own methods, each with a JSON Schema for every hyper-parameter."""
    text = files("service").joinpath("methods.json").read_text(encoding="utf-8")
    methods: dict[str, dict[str, Schema]] = json.loads(text)
    return methods


def plugin_methods(declared: Collection[str] = ()) -> tuple[str, ...]:
    """Return the plug-ins that are installed here or declared by the operator, sorted.

    A plug-in with the name of one of Expunge's own methods is none: workers refuse to use it.
    """
    return tuple(sorted({*_installed(tuple(sys.path)), *declared} - set(catalog())))


def clashing_plugins() -> list[str]:
    """Return the installed plug-ins that have the name of one of Expunge's own methods."""
    return sorted(_installed(tuple(sys.path)) & set(catalog()))


@cache
def _installed(_path: tuple[str, ...]) -> frozenset[str]:
    """Return the names of installed plug-ins; found once a path, as that reads every package."""
    return frozenset(entry_points(group=PLUGIN_GROUP).names)


def checked_hyperparameters(method: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyper-parameters in their one form: whole numbers as floats, defaults left out.

    Equal settings are so equal terms, with equal seeds. A plug-in's come back as they are.

    Raises:
        BadHyperparameter: an unknown name, or a value of another type or out of range.
    """
    schemas = catalog().get(method)
    if schemas is None:
        return dict(values)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in schemas:
            known = ", ".join(sorted(schemas)) or "none"
            raise BadHyperparameter(name, f"is no hyper-parameter of {method}; known are {known}")
        schema = schemas[name]
        if not _fits(value, schema):
            raise BadHyperparameter(name, f"must be {_words(schema)}")
        exact = float(value) if type(value) is int and _types(schema)[0] == "number" else value
        if exact != schema["default"]:
            checked[name] = exact
    return dict(sorted(checked.items()))


def _types(schema: Schema) -> list[str]:
    kind = schema.get("type", "string")
    return [kind] if isinstance(kind, str) else list(kind)


def _fits(value: object, schema: Schema) -> bool:
    if "enum" in schema:
        return any(type(value) is type(known) and value == known for known in schema["enum"])
    if value is None:
        return "null" in _types(schema)
    if type(value) not in _TYPES[_types(schema)[0]]:
        return False
    return isinstance(value, str | bool) or _within(value, schema)


def _within(value: object, schema: Schema) -> bool:
    """Say whether a number keeps the bounds; NaN keeps none."""
    number = float(str(value))
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    return (
        (low is None or number >= low)
        and (high is None or number <= high)
        and (above is None or number > above)
        and (below is None or number < below)
    )


def _words(schema: Schema) -> str:
    """Say in words what a schema takes."""
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(known) for known in schema["enum"])
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    told = [f"{words} {schema[key]:g}" for key, words in bounds.items() if key in schema]
    names = {"number": "a number", "integer": "a whole number", "null": "null"}
    kinds = " or ".join(names.get(kind, f"a {kind}") for kind in _types(schema))
    return " and ".join([f"{kinds} {told[0]}", *told[1:]]) if told else kinds
