"""Print what a deletion request would take."""

from typing import Any

from service.cli.output import Output


def show_price(output: Output, price: dict[str, Any]) -> None:
    """Print the price of one request, for people."""
    if not output.as_json:
        plain = {name: v for name, v in price.items() if not isinstance(v, dict | list)}
        output.fields("Price", plain)
        _show_rungs(output, price)


def _show_rungs(output: Output, price: dict[str, Any]) -> None:
    """Print what each method takes, from this model's own jobs."""
    references, pool, hours = price["references"], price["pool"], price["compute_hours"]
    rows = [
        [rung["method"], *(_seconds(rung[part]) for part in ("unlearning", "audit"))]
        for rung in price["ladder"]
    ]
    output.table(["method", "unlearning", "audit"], rows)
    first, last = references["first_look"], references["last_look"]
    each = _seconds(references["seconds_each"])
    output.say(f"References: {first} to {last}, {references['ready']} are there; each {each}")
    if pool["needed"]:
        output.say(f"Pool: {_seconds(pool['seconds'])}")
    if hours is None:
        output.say("Compute: unknown, a part has no history on this model")
    else:
        span = f"{hours['least']:.2f} to {hours['most']:.2f}"
        output.say(f"Compute: {span} {hours['kind'].upper()} hours")


def _seconds(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return "unknown"
    span = f"{spread['least']:.1f} to {spread['most']:.1f}"
    return f"{spread['median']:.1f} s ({span}, n = {spread['n']})"
