"""Numbers, times and names as a report writes them; the same in every rendering."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

NARROW, HARD = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
NOTHING = "–"
MOST_FACTS = 60


def number(value: object) -> str:
    """Write a number with at most four significant digits; anything else as it is."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", NARROW).replace("-", "−")
    if isinstance(value, float):
        digits = 3 if abs(value) < 10 else 1
        text = f"{value:.{digits}f}" if 0.001 <= abs(value) < 1e5 or not value else f"{value:.3g}"
        return text.replace("-", "−")
    return str(value)


def signed(value: float | None) -> str:
    """Write a difference with its sign."""
    return number(value) if value is None or value < 0 else f"+{value:.3f}"


def share(value: float) -> str:
    """Write a remaining influence with two decimals, as the first page does."""
    return f"{value:.2f}".replace("-", "−")


def spread(references: Mapping[str, Any] | None) -> str:
    """Write mean ± standard deviation and the number of references."""
    if not references:
        return NOTHING
    mean = number(references.get("mean"))
    sd, n = references.get("sd"), references.get("n")
    text = mean if sd is None else f"{mean} ± {number(sd)}"
    return text if n is None else f"{text} ({n})"


def interval(ends: tuple[float, float] | list[float] | None) -> str:
    """Write an interval; nothing where there is none."""
    return f"{number(ends[0])} … {number(ends[1])}" if ends else ""


def influence(value: Mapping[str, Any] | None) -> str:
    """Write a remaining influence with its bounds."""
    if not value:
        return NOTHING
    if value.get("lower") is None or value.get("upper") is None:
        return number(value["value"])
    return f"{number(value['value'])} [{number(value['lower'])}, {number(value['upper'])}]"


def seconds(value: float | None) -> str:
    """Write a duration in the unit that fits."""
    if value is None:
        return NOTHING
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def day(text: str | None) -> str:
    """Write an ISO 8601 time as a day."""
    if not text:
        return NOTHING
    return f"{datetime.fromisoformat(text):%d %b %Y}".lstrip("0").replace(" ", HARD)


def moment(text: str | None) -> str:
    """Write an ISO 8601 time to the minute."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC" if text else NOTHING


def words(name: object) -> str:
    """Write an identifier as words."""
    return str(name).replace("_", " ")


def capital(text: str) -> str:
    """Begin with a capital letter and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def settings(values: Mapping[str, Any] | None) -> str:
    """Write named settings in one line, by name."""
    return ", ".join(f"{name} = {flat(value)}" for name, value in sorted((values or {}).items()))


def flat(value: object) -> str:
    """Write any JSON value in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {flat(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return ", ".join(flat(entry) for entry in value)
    return number(value)


def facts(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a mapping holds, whatever it is, as at most `MOST_FACTS` named lines.

    A report shows what a later audit adds without knowing its name.
    """
    lines = list(_leaves("", value)) if value else []
    shown = [(words(name), text) for name, text in lines[:MOST_FACTS]]
    if len(lines) > MOST_FACTS:
        shown.append(("and more", f"{len(lines) - MOST_FACTS} entries in the signed statement"))
    return shown


def _leaves(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, entry in value.items():
            yield from _leaves(f"{path} · {name}" if path else str(name), entry)
    elif isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        for place, entry in enumerate(value, 1):
            title = str(entry.get("name", place)) if isinstance(entry, Mapping) else str(place)
            yield from _leaves(f"{path} · {title}", entry)
    else:
        yield path, flat(value)
