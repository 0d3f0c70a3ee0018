"""Verdict policies: versioned JSON files named by the digest of their canonical form."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from service.commitment import digest_of
from service.errors import Unprocessable


@dataclass(frozen=True)
class Policy:
    """What an audit gates on, its looks at references and its limits."""

    name: str
    version: int
    digest: str
    document: dict[str, Any]


def load_policy(name: str) -> Policy:
    """Return the newest version of a policy, or the one named as `name/version`.

    Raises:
        Unprocessable: code `unknown_policy`.
    """
    wanted, _, version = name.partition("/")
    found = [
        policy
        for policy in _all_policies()
        if policy.name == wanted and version in ("", str(policy.version))
    ]
    if not found:
        known = ", ".join(sorted({policy.name for policy in _all_policies()}))
        raise Unprocessable(
            "unknown_policy",
            f"There is no policy of that name; there are: {known}.",
            [{"pointer": "/policy", "detail": "unknown policy"}],
        )
    return max(found, key=lambda policy: policy.version)


@cache
def _all_policies() -> tuple[Policy, ...]:
    """Read every policy file shipped with the package."""
    documents = [
        json.loads(entry.read_text(encoding="utf-8"))
        for entry in files("service").joinpath("policies").iterdir()
        if entry.name.endswith(".json")
    ]
    return tuple(Policy(d["name"], d["version"], digest_of(d), d) for d in documents)
