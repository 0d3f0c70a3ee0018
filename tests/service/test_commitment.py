"""Commitments: RFC 6962 roots, the same for any order, and nothing without the salt."""

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commitment import canonical_json, digest_of, merkle_root, new_salt

SALT = bytes(range(32))


def _slow_root(leaves: list[bytes]) -> bytes:
    """Return MTH of RFC 6962 §2.1 by its own definition: split at the largest power of two."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    joined = _slow_root(leaves[:split]) + _slow_root(leaves[split:])
    return hashlib.sha256(b"\x01" + joined).digest()


@given(st.sets(st.text(max_size=8), max_size=40))
def test_the_root_is_that_of_rfc_6962(names: set[str]) -> None:
    leaves = [hashlib.sha256(b"\x00" + SALT + name.encode()).digest() for name in sorted(names)]
    assert merkle_root(SALT, names) == _slow_root(leaves).hex()


def test_the_root_changes_with_the_ids_and_with_the_salt() -> None:
    root = merkle_root(SALT, ["a", "b", "c"])
    assert merkle_root(SALT, ["c", "a", "b"]) == root
    assert merkle_root(SALT, ["a", "b"]) != root
    assert merkle_root(new_salt(), ["a", "b", "c"]) != root
    assert len(new_salt()) == 32


def test_canonical_json_is_the_same_for_equal_values() -> None:
    assert canonical_json({"b": [1, 0.5], "a": "ä"}) == rb'{"a":"\u00e4","b":[1,0.5]}'
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": math.nan})
