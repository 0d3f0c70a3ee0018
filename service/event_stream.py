"""Read a stream of server-sent events."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One server-sent event: ``snapshot``, ``progress``, ``state`` or ``done``."""

    id: str
    name: str
    data: dict[str, Any]


def parse_events(lines: Iterator[str]) -> Iterator[Event]:
    """Yield the events of an event stream (WHATWG HTML, 9.2.6); comments are dropped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            data = json.loads(fields["data"])
            yield Event(fields.get("id", ""), fields.get("event", "message"), data)
            fields = {}
