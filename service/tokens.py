"""What an API key looks like: `ex_live_<prefix>_<secret><checksum>`.

The prefix names the key and is no secret. The checksum, six base-62 digits of the CRC-32 of all
before it, lets a scanner of leaked secrets, or a service that was sent a typing error, tell a key
from noise without asking a database.
"""

import re
import secrets
import string
import zlib
from typing import NamedTuple

FORMAT = "ex_live_<prefix>_<secret>"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX, _SECRET, _CHECKSUM = 10, 40, 6
_TOKEN = re.compile(
    rf"ex_live_([0-9A-Za-z]{{{_PREFIX}}})_([0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})",
    re.ASCII,
)


class Token(NamedTuple):
    """A key's public prefix and its secret, 238 random bits."""

    prefix: str
    secret: str

    def __str__(self) -> str:
        body = f"ex_live_{self.prefix}_{self.secret}"
        return body + _checksum(body)


def new_token(prefix: str | None = None) -> Token:
    """Return a token that nobody has; its prefix is drawn too unless one is given."""
    return Token(prefix or _random(_PREFIX), _random(_SECRET))


def parse_token(text: str) -> Token | None:
    """Return the token that a text is; None where the form or the checksum is wrong."""
    match = _TOKEN.fullmatch(text)
    if match is None or _checksum(text[:-_CHECKSUM]) != match[3]:
        return None
    return Token(match[1], match[2])


def _checksum(body: str) -> str:
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
