"""Bitmaps: any set of ordinals goes in and comes out, and its digest names it."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from service.bitmaps import digest, pack, unpack

ORDINALS = st.sets(st.integers(0, 2**32 - 1), max_size=50)


@given(ORDINALS)
def test_what_is_packed_can_be_unpacked(ordinals: set[int]) -> None:
    assert set(unpack(pack(ordinals))) == ordinals


@given(ORDINALS)
def test_the_digest_is_that_of_the_sorted_ordinals(ordinals: set[int]) -> None:
    slow = hashlib.sha256(b"".join(o.to_bytes(4, "little") for o in sorted(ordinals)))
    assert digest(BitMap(ordinals)) == slow.hexdigest()
    assert digest(unpack(pack(ordinals))) == slow.hexdigest()


def test_a_million_ordinals_in_a_row_take_little_room() -> None:
    assert len(pack(BitMap(range(1_000_000)))) < 1000
