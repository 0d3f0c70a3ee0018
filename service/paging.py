"""Keyset pages: opaque cursors that fit the list they came from, and `Link: rel="next"`.

A cursor holds where the last page ended and a digest of the list and its filters, so that one of
another list, or of other filters, is refused instead of skipping entries unseen.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel

from service import ledger
from service.errors import Unprocessable
from service.schemas import Page

Item = TypeVar("Item", bound=BaseModel)
_OWN = ("cursor", "limit")
_DIGEST_BYTES = 9


@dataclass(frozen=True)
class Paging:
    """Where a page starts, how long it may be, and how the next one is named."""

    request: Request
    response: Response
    start: str | None
    limit: int

    def page(self, page: ledger.Page[Any], items: Sequence[Item]) -> Page[Item]:
        """Return the page as it is answered; its cursor goes into the header Link too."""
        if page.next_cursor is None:
            return Page(items=list(items), next_cursor=None)
        cursor = seal(_list_of(self.request), page.next_cursor)
        asked = [pair for pair in self.request.query_params.multi_items() if pair[0] != "cursor"]
        query = urlencode([*asked, ("cursor", cursor)])
        self.response.headers["Link"] = f'<{self.request.url.path}?{query}>; rel="next"'
        return Page(items=list(items), next_cursor=cursor)


def paging(default: int = 50, most: int = 200) -> Any:  # noqa: ANN401 - what FastAPI's Depends returns
    """Ask for the page that a call wants."""

    def read(
        request: Request,
        response: Response,
        cursor: Annotated[
            str | None, Query(max_length=200, description="`next_cursor` of a page of this list.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=most)] = default,
    ) -> Paging:
        start = None if cursor is None else unseal(_list_of(request), cursor)
        return Paging(request, response, start, limit)

    return Depends(read)


def seal(name: str, position: str) -> str:
    """Return the opaque cursor of a position in a list."""
    packed = _digest(name, position) + position.encode()
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def unseal(name: str, cursor: str) -> str:
    """Return the position that `seal` was given.

    Raises:
        Unprocessable: ``bad_cursor``: not one of this list with these filters.
    """
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        position = packed[_DIGEST_BYTES:].decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise _bad() from None
    if packed[:_DIGEST_BYTES] != _digest(name, position):
        raise _bad()
    return position


def _list_of(request: Request) -> str:
    """Name a list by its path and its filters."""
    filters = sorted(pair for pair in request.query_params.multi_items() if pair[0] not in _OWN)
    return f"{request.url.path}?{urlencode(filters)}"


def _digest(name: str, position: str) -> bytes:
    return hashlib.sha256(f"{name}\n{position}".encode()).digest()[:_DIGEST_BYTES]


def _bad() -> Unprocessable:
    detail = "This is no cursor of this list with these filters."
    return Unprocessable("bad_cursor", detail, [{"pointer": "/query/cursor", "detail": detail}])
