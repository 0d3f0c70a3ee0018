"""JSON from outside: read as every other reader would, or refused with the reason."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.strict_json import loads

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@given(VALUES, st.booleans())
def test_what_is_sound_is_read_as_it_is(value: Any, escaped: bool) -> None:  # noqa: ANN401
    assert loads(json.dumps(value, ensure_ascii=escaped).encode()) == value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"NaN", "not finite"),
        (b"[-Infinity]", "not finite"),
        (b"1e999", "not finite"),
        (b"9223372036854775808", "64 bits"),
        (b"1" + b"0" * 5000, "64 bits"),
        (b'{"a": 1, "a": 2}', "twice"),
        (rb'["a\u0000"]', "NUL"),
        (rb'{"a\u0000": 1}', "NUL"),
        (rb'"\ud800"', "half a character"),
        (rb'["\uDFFF", "\\ud83d"]', "half a character"),
        (b"[" * 100_000, "deeply"),
        (b'"\xff"', "UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"", "Expecting value"),
        (b"{} {}", "Extra data"),
    ],
)
def test_what_others_read_otherwise_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=words):
        loads(body)


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert loads(rb'["\ud83d\ude00", "\\u0000"]') == ["😀", "\\u0000"]
