"""Messages between a supervisor and its child: JSON as bytes, never pickle, of bounded length."""

import json
from multiprocessing.connection import Connection
from typing import Any

MAX_MESSAGE_BYTES = 64 << 20


def encode(message: dict[str, Any]) -> bytes:
    """Return JSON bytes; a NaN is an error here, not in whoever reads the report."""
    return json.dumps(message, allow_nan=False).encode()


def receive(channel: Connection) -> dict[str, Any]:
    """Return the next message.

    Raises:
        EOFError: The other end is closed.
        OSError: The connection broke, or the message is too long.
        ValueError: The message is no JSON object.
    """
    message = json.loads(channel.recv_bytes(MAX_MESSAGE_BYTES))
    if not isinstance(message, dict):
        raise ValueError("A message is a JSON object.")  # noqa: TRY004 - its value is wrong
    return message
