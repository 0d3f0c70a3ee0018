"""Commitments to sample ids: a report proves which ids it is about without naming one.

Leaf = SHA-256(0x00 ‖ salt ‖ id) with a random 32-byte salt per request; root after RFC 6962 §2.1.
Destroying the salt makes the root unlinkable to any id.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

SALT_BYTES = 32


class Commitment(NamedTuple):
    """A root and the salt that it was made with."""

    salt: bytes
    root: str


def commit(sample_ids: Iterable[str]) -> Commitment:
    """Commit to sample ids under a salt of their own."""
    salt = new_salt()
    return Commitment(salt, merkle_root(salt, sample_ids))


def new_salt() -> bytes:
    """Return a fresh random salt."""
    return secrets.token_bytes(SALT_BYTES)


def merkle_root(salt: bytes, sample_ids: Iterable[str]) -> str:
    """Return the hex root over the sorted ids, so that the order of a request never matters."""
    leaves = [
        hashlib.sha256(b"\x00" + salt + name.encode()).digest() for name in sorted(sample_ids)
    ]
    return _tree_hash(leaves).hex()


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Serialise with sorted keys and no blanks, the form under which digests are taken.

    Raises:
        ValueError: for NaN and infinities, which are not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the SHA-256 of a value's canonical JSON, as hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _tree_hash(leaves: Sequence[bytes]) -> bytes:
    """Hash level by level: an odd last node moves up unchanged, which is RFC 6962's shape."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        paired = [
            hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest()
            for i in range(0, len(level) - 1, 2)
        ]
        level = paired + level[len(paired) * 2 :]
    return level[0]
