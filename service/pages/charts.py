"""Small drawings of a report's numbers as SVG: a page's style sheet colours them.

Every number drawn here also stands in the text or the tables. :func:`standalone` gives a drawing
colours of its own, for the PDF. Whatever is not a number of ours is escaped.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from markupsafe import escape

_SCALE_WIDTH = 360
_SCALE_LEFT, _SCALE_RIGHT = 14, 346
_STRIP_WIDTH, _STRIP_PAD = 176, 8
_FARTHEST = 1.0  # beyond this from 0 and 1 the line is cut, or its words would meet
_LIGHT = (
    "text{font-family:'Libertinus Serif';fill:#5c5953}.strong{fill:#1c1b19;font-weight:bold}"
    ".axis{stroke:#dedad1}.tick{stroke:#5c5953}.allowed,.band{fill:#cdebe2}"
    ".limit{stroke:#007a59;stroke-dasharray:3 2}.candidate{fill:#0072b2;stroke:#0072b2}"
    ".span{stroke:#0072b2}.original{fill:#ffffff;stroke:#b36b00}.mean{stroke:#007a59}"
    ".icon{fill:none;stroke-width:2.2;stroke-linecap:round;stroke-linejoin:round}"
)
_TONES = {"good": "#00704f", "bad": "#b34700", "open": "#8a5a00", "calm": "#005f95"}
Drawing = tuple[str, str]
_ICONS = {
    "good": '<circle cx="12" cy="12" r="10"/><path d="m7.5 12.4 3 3 6-6.6"/>',
    "bad": '<path d="M12 2.5 22 20.5H2z"/><path d="M12 9.5v5M12 17.3v.2"/>',
    "open": '<circle cx="12" cy="12" r="10" stroke-dasharray="4 3"/>'
    '<path d="M9.4 9.4a2.7 2.7 0 1 1 3.7 2.5c-.8.4-1.1.9-1.1 1.8M12 16.6v.2"/>',
    "calm": '<path d="M20.5 12a8.5 8.5 0 1 1-2.6-6.1"/><path d="M21 2.8v4h-4"/>',
}


def icon(tone: str) -> str:
    """Return the verdict's sign; its shape differs by tone, so colour is never alone."""
    return f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">{_ICONS[tone]}</svg>'


def standalone(svg: str, tone: str = "calm") -> str:
    """Return a drawing that needs no style sheet around it."""
    style = f"<style>{_LIGHT}.icon{{stroke:{_TONES[tone]}}}</style>"
    opening, _, rest = svg.partition(">")
    return f'{opening} xmlns="http://www.w3.org/2000/svg"><g>{style}{rest[:-6]}</g></svg>'


def influence_scale(influence: Mapping[str, Any], limit: float | None) -> Drawing:
    """Draw the remaining influence on the line from "never saw the data" (0) to "as before" (1)."""
    value, lower, upper = influence["value"], influence["lower"], influence["upper"]
    ends = [end for end in (value, lower, upper) if end is not None]
    low, high = max(min(-0.25, *ends), -_FARTHEST), min(max(1.15, *ends), 1 + _FARTHEST)

    def x(position: float) -> float:
        share = (min(max(position, low), high) - low) / (high - low)
        return float(round(_SCALE_LEFT + share * (_SCALE_RIGHT - _SCALE_LEFT), 1))

    parts = [f'<line class="axis" x1="{x(low)}" x2="{x(high)}" y1="46" y2="46" stroke-width="2"/>']
    if limit is not None:
        parts += [
            f'<rect class="allowed" x="{x(low)}" y="36" width="{x(limit) - x(low)}" height="20"/>',
            f'<line class="limit" x1="{x(limit)}" x2="{x(limit)}" y1="30" y2="62"/>',
            _text(x(limit), 24, f"limit {limit:g}", "middle"),
        ]
    for position, words in ((0.0, "never saw the data"), (1.0, "as before")):
        parts += [
            f'<line class="tick" x1="{x(position)}" x2="{x(position)}" y1="40" y2="52"/>',
            _text(x(position), 70, f"{position:g}", "middle"),
            _text(x(position), 84, words, "middle"),
        ]
    if lower is not None and upper is not None:
        parts.append(
            f'<line class="span" x1="{x(lower)}" x2="{x(upper)}" y1="46" y2="46" stroke-width="4"/>'
        )
    parts.append(f'<circle class="candidate" cx="{x(value)}" cy="46" r="6"/>')
    alt = _influence_words(influence, limit)
    return _svg("scale", _SCALE_WIDTH, 92, "".join(parts), alt), alt


def metric_strip(metric: Mapping[str, Any]) -> str | None:
    """Draw one metric: references as a band of two standard deviations, original, candidate."""
    references = metric.get("references")
    interval = metric.get("interval")
    spread = 0.0
    points = [metric.get("original"), metric.get("candidate"), *(interval or ())]
    if references:
        spread = 2 * (references["sd"] or 0)
        points += [references["mean"] - spread, references["mean"] + spread]
    known = [point for point in points if point is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    width = (high - low) or 1.0

    def x(position: float) -> float:
        share = (position - low) / width if high > low else 0.5
        return round(_STRIP_PAD + share * (_STRIP_WIDTH - 2 * _STRIP_PAD), 1)

    right = _STRIP_WIDTH - _STRIP_PAD
    parts = [f'<line class="axis" x1="{_STRIP_PAD}" x2="{right}" y1="14" y2="14"/>']
    if references:
        left, end, mean = (x(references["mean"] + sign * spread) for sign in (-1, 1, 0))
        parts += [
            f'<rect class="band" x="{left}" y="5" width="{max(end - left, 1):.1f}" height="18"/>',
            f'<line class="mean" x1="{mean}" x2="{mean}" y1="5" y2="23" stroke-width="1.5"/>',
        ]
    if interval:
        parts.append(
            f'<line class="span" x1="{x(interval[0])}" x2="{x(interval[1])}" y1="14" y2="14" '
            'stroke-width="2.5"/>'
        )
    if metric.get("original") is not None:
        parts.append(_diamond(x(metric["original"])))
    if metric.get("candidate") is not None:
        parts.append(f'<circle class="candidate" cx="{x(metric["candidate"])}" cy="14" r="4.5"/>')
    return _svg("strip", _STRIP_WIDTH, 28, "".join(parts), None)


def timeline(moments: Iterable[tuple[str, str | None]]) -> Drawing | None:
    """Draw named moments (ISO 8601) along one line in proportion to time."""
    known = [(name, datetime.fromisoformat(time)) for name, time in moments if time]
    if len(known) < 2:
        return None
    first, last = min(time for _, time in known), max(time for _, time in known)
    length = (last - first).total_seconds() or 1.0
    parts = ['<line class="axis" x1="20" x2="620" y1="40" y2="40" stroke-width="2"/>']
    for number, (name, time) in enumerate(sorted(known, key=lambda moment: moment[1])):
        place = 20 + 600 * (time - first).total_seconds() / length
        above = number % 2 == 0
        anchor = "start" if place < 70 else "end" if place > 570 else "middle"
        shape = "original" if name == "Due" else "candidate"
        parts += [
            f'<circle class="{shape}" cx="{place:.1f}" cy="40" r="5" stroke-width="2"/>',
            _text(place, 14 if above else 62, name, anchor, "strong"),
            _text(place, 27 if above else 75, f"{time:%d %b %Y}".lstrip("0"), anchor),
        ]
    words = "; ".join(f"{name} {time:%d %B %Y}" for name, time in known)
    return _svg("timeline", 640, 82, "".join(parts), words), words


def legend() -> list[dict[str, str]]:
    """Explain the signs of :func:`metric_strip`."""
    candidate = '<circle class="candidate" cx="11" cy="7" r="4.5"/>'
    band = (
        '<rect class="band" x="2" y="0" width="18" height="14"/>'
        '<line class="mean" x1="11" x2="11" y1="0" y2="14" stroke-width="1.5"/>'
    )
    signs = (
        (candidate, "new model, with its interval"),
        (_diamond(11, 7), "model before"),
        (band, "models that never saw the data: mean ± 2 standard deviations"),
    )
    return [{"svg": _svg("sign", 22, 14, sign, None), "text": words} for sign, words in signs]


def _diamond(x: float, y: float = 14) -> str:
    return (
        f'<path class="original" stroke-width="2" d="M{x} {y - 5.5}L{x + 5.5} {y}'
        f'L{x} {y + 5.5}L{x - 5.5} {y}Z"/>'
    )


def _influence_words(influence: Mapping[str, Any], limit: float | None) -> str:
    lower, upper = influence["lower"], influence["upper"]
    bound = "" if None in (lower, upper) else f", between {lower:.2f} and {upper:.2f}"
    allowed = f"; the policy allows at most {limit:g}" if limit is not None else ""
    return f"Remaining influence {influence['value']:.2f}{bound}{allowed}"


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="11" text-anchor="{anchor}" class="{kind}">'
        f"{escape(words)}</text>"
    )


def _svg(kind: str, width: int, height: int, body: str, words: str | None) -> str:
    role = f'role="img" aria-label="{escape(words)}"' if words else 'aria-hidden="true"'
    return f'<svg class="{kind}" viewBox="0 0 {width} {height}" {role}>{body}</svg>'
