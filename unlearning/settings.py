"""Checks that frozen dataclasses of settings share: names, types and ranges, in plain words."""

from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from types import UnionType
from typing import TYPE_CHECKING, ClassVar, Literal, get_args, get_origin

from unlearning.errors import InvalidProblem

if TYPE_CHECKING:
    from typing import Protocol

    class Settings(Protocol):
        """Any dataclass instance."""

        __dataclass_fields__: ClassVar[dict[str, Field[object]]]


def check_names(owner: "type[Settings]", names: Iterable[str]) -> None:
    """Refuse names that the dataclass does not have.

    Raises:
        InvalidProblem: naming the unknown and the known ones.
    """
    known = {field.name for field in fields(owner)}
    if unknown := sorted(set(names) - known):
        raise InvalidProblem(
            f"{_title(owner)}: unknown {', '.join(unknown)}; "
            f"known are {', '.join(sorted(known)) or 'none'}"
        )


def check_types(settings: "Settings") -> None:
    """Check every field against its annotation; whole numbers become floats where those are asked.

    Raises:
        InvalidProblem: naming the first field of another type.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.type is float and type(value) is int:
            object.__setattr__(settings, field.name, float(value))
        elif not _fits(value, field.type):
            raise InvalidProblem(
                f"{_title(type(settings))}: {field.name} must be {_words(field.type)}, "
                f"not {value!r}"
            )


def check_ranges(settings: "Settings", ranges: Mapping[str, bool]) -> None:
    """Refuse settings for which a rule, keyed by its field, does not hold.

    Raises:
        InvalidProblem: naming every field out of range with its value.
    """
    broken = [
        f"{name} = {getattr(settings, name)!r}" for name, holds in ranges.items() if not holds
    ]
    if broken:
        raise InvalidProblem(f"{_title(type(settings))}: out of range: {', '.join(broken)}")


def _title(owner: "type[Settings]") -> str:
    return str(getattr(owner, "name", owner.__name__.lower()))


def _fits(value: object, expected: object) -> bool:
    if get_origin(expected) is Literal:
        return value in get_args(expected)
    if isinstance(expected, UnionType):
        return any(_fits(value, part) for part in get_args(expected))
    return type(value) is expected


def _words(expected: object) -> str:
    if get_origin(expected) is Literal:
        return " or ".join(map(repr, get_args(expected)))
    if isinstance(expected, UnionType):
        return " or ".join(map(_words, get_args(expected)))
    if expected is type(None):
        return "None"
    return f"of type {getattr(expected, '__name__', expected)}"
