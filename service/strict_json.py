"""Read JSON as I-JSON (RFC 7493) has it, for what comes from outside.

Python's own reader lets through what no database column and no other reader takes: NaN and
infinities, numbers beyond 64 bits, lone surrogates, an object with the same name twice. A NUL
character, which PostgreSQL cannot hold, is refused too.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_LARGEST = 2**63


def loads(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a document in UTF-8.

    Raises:
        json.JSONDecodeError: It is none, or none that other readers understand in the same way.
    """
    try:
        text = body.decode()
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_within_64_bits,
            object_pairs_hook=_named_once,
        )
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("Nested too deeply", "", 0) from None
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("Not UTF-8", "", error.start) from None
    except ValueError as error:
        raise json.JSONDecodeError(str(error), "", 0) from None
    if (found := _SUSPECT.search(body)) is not None and _has_unfit_text(value):
        raise json.JSONDecodeError("A text holds NUL or half a character", "", found.start())
    return value


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("A number is not finite")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("A number is not finite")
    return value


def _within_64_bits(text: str) -> int:
    value = int(text) if len(text) < 21 else _LARGEST
    if not -_LARGEST <= value < _LARGEST:
        raise ValueError("A whole number does not fit into 64 bits")
    return value


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("An object has the same name twice")
    return found


def _has_unfit_text(value: object) -> bool:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text if _UNFIT.search(text):
                return True
            case dict() as inner:
                waiting += _both(inner.items())
            case list() as inner:
                waiting += inner
    return False


def _both(pairs: Iterable[tuple[object, object]]) -> list[object]:
    return [part for pair in pairs for part in pair]
