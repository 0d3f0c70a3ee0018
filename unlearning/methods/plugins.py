"""Methods of third parties, found by their entry points; docs/plugins.md tells how to write one.

A package offers a method in the group `expunge.methods`, its name before the sign and
`package.module:ClassName` after it. Nothing is imported before the method is asked for.
"""

import inspect
from dataclasses import is_dataclass
from importlib.metadata import EntryPoint, entry_points

from unlearning.errors import InvalidProblem
from unlearning.methods.contract import Method

GROUP = "expunge.methods"


def plugin_names() -> list[str]:
    """Return the names that installed packages offer, sorted, without importing any of them."""
    return sorted(entry_points(group=GROUP).names)


def find_plugin(name: str) -> EntryPoint | None:
    """Return the entry point of that name, None where there is none.

    Raises:
        InvalidProblem: several packages offer it: which one is meant must not be guessed.
    """
    found = list(entry_points(group=GROUP, name=name))
    if len(found) > 1:
        origins = " and ".join(sorted(_origin(entry) for entry in found))
        raise InvalidProblem(f"several packages offer a method {name!r}: {origins}; keep one")
    return found[0] if found else None


def refuse_clash(name: str, entry: EntryPoint | None) -> None:
    """Refuse a plug-in that has the name of one of Expunge's own methods.

    Raises:
        InvalidProblem: naming the package.
    """
    if entry is not None:
        raise InvalidProblem(
            f"the plug-in {name!r} of {_origin(entry)} has the name of a method of Expunge itself;"
            " uninstall it or have its entry point renamed"
        )


def load_plugin(entry: EntryPoint) -> type[Method]:
    """Import a plug-in and return its class.

    Raises:
        InvalidProblem: it cannot be imported, or is no method of that name with a version.
    """
    what = f"the plug-in {entry.name!r} of {_origin(entry)}"
    try:
        loaded = entry.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        raise InvalidProblem(f"{what} could not be loaded from {entry.value}: {reason}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Method)):
        raise InvalidProblem(f"{what}: {entry.value} is no subclass of unlearning.methods.Method")
    if inspect.isabstract(loaded) or not _is_frozen(loaded):
        raise InvalidProblem(f"{what}: {entry.value} must be a frozen dataclass with a __call__")
    if getattr(loaded, "name", None) != entry.name:
        raise InvalidProblem(f"{what}: {entry.value} must have the class variable name equal to it")
    if not isinstance(getattr(loaded, "version", None), str):
        raise InvalidProblem(f"{what}: {entry.value} must have the class variable version, a text")
    return loaded


def _is_frozen(loaded: type[Method]) -> bool:
    """Say whether the class itself, and not only its parent, is a frozen dataclass."""
    own = vars(loaded).get("__dataclass_params__")
    return is_dataclass(loaded) and own is not None and bool(own.frozen)


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
