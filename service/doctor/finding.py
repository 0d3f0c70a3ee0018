"""What a check finds, and how secrets are kept out of it."""

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from urllib.parse import parse_qsl, unquote

from service.config import Settings

_MASK = "***"
_USERINFO = re.compile(r"(?<=//)[^\s;]*@")
_QUERY = re.compile(r"\?[^\s;]*")
_SHORTEST = 3


class Status(StrEnum):
    """How grave a finding is; only `FAIL` makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and what to do about it."""

    name: str
    status: Status
    detail: str
    action: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as JSON values."""
        return asdict(self) | {"status": self.status.value}

    def without(self, secrets: Collection[str]) -> "Finding":
        """Return the finding with every secret masked."""
        detail, action = self.detail, self.action
        for secret in sorted(secrets, key=len, reverse=True):
            detail, action = detail.replace(secret, _MASK), action.replace(secret, _MASK)
        return replace(self, detail=detail, action=action)


def ok(name: str, detail: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(name, Status.OK, detail)


def warn(name: str, detail: str, action: str) -> Finding:
    """Return a finding that should be looked at."""
    return Finding(name, Status.WARN, detail, action)


def fail(name: str, detail: str, action: str) -> Finding:
    """Return a finding that keeps the service from working."""
    return Finding(name, Status.FAIL, detail, action)


def masked(url: str) -> str:
    """Return a URL without user, password and query, or several that `;` parts."""
    return _QUERY.sub("?…", _USERINFO.sub(f"{_MASK}@", url))


def first_line(error: BaseException) -> str:
    """Return what an error says in its first line: statements and values come after it."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def secrets_of(settings: Settings) -> frozenset[str]:
    """Return what must never be printed: passwords and query values of the settings' URLs.

    Also what a URL with stray marks would show as one: everything before its last `@`. What is
    shorter than three letters is no secret and would mask half of the words.
    """
    found: set[str] = set()
    for text in (settings.database_url, settings.broker_url, settings.storage_url):
        for url in text.split(";"):
            found |= _secrets_in(url)
    return frozenset(secret for secret in found if len(secret) >= _SHORTEST)


def _secrets_in(url: str) -> set[str]:
    _, _, rest = url.partition("//")
    user, at, _ = rest.rpartition("@")
    password = user.partition(":")[2] if at else ""
    query = url.partition("?")[2]
    values = {value for _, value in parse_qsl(query)} | {
        part.partition("=")[2] for part in query.split("&")
    }
    return {password, unquote(password)} | values
