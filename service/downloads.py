"""Serve stored files: ETag, one range, digests (RFC 9110, RFC 9530)."""

import base64
import hashlib
import re
from collections.abc import Iterator

from fastapi import Response
from fastapi.responses import StreamingResponse

from service.errors import ServiceError
from service.storage import Storage
from service.uploads import WEIGHTS_TYPE

_CHUNK_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def weights_response(
    storage: Storage,
    key: str,
    sha256: str,
    *,
    wanted: str | None,
    if_none_match: str | None,
    if_range: str | None,
) -> Response:
    """Return a weights file, the range of it that was asked for, or 304.

    Raises:
        ServiceError: ``range_not_satisfiable`` (416) with the size of the file.
        StorageError: The file is not there.
    """
    etag = f'"{sha256}"'
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Repr-Digest": f"sha-256=:{digest}:",
    }
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    size = storage.size(key)
    span = _span(wanted, size) if if_range in (None, etag) else None
    start, end = span or (0, size)
    headers["Content-Length"] = str(end - start)
    if span is None:
        headers["Content-Digest"] = headers["Repr-Digest"]
        headers["Content-Disposition"] = f'attachment; filename="{sha256[:12]}.safetensors"'
    else:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    body = _read(storage, key, start, end)
    status = 200 if span is None else 206
    return StreamingResponse(body, status, headers, media_type=WEIGHTS_TYPE)


def content_digest(body: bytes) -> str:
    """Return the value of Content-Digest for a whole body."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def matches(if_none_match: str | None, etag: str) -> bool:
    """Say whether an If-None-Match header names this entity tag (weak comparison)."""
    if if_none_match is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag in tags


def _span(wanted: str | None, size: int) -> tuple[int, int] | None:
    """Return start and end (exclusive); None when the whole file is to be sent."""
    match = _RANGE.fullmatch(wanted.strip()) if wanted else None
    if match is None or match.groups() == ("", ""):
        return None  # a form that is not served may be ignored
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= size or start >= end:
        detail = f"The file has {size} bytes."
        raise ServiceError(416, "range_not_satisfiable", detail, size=size)
    return start, end


def _read(storage: Storage, key: str, start: int, end: int) -> Iterator[bytes]:
    with storage.open(key) as file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(_CHUNK_BYTES, end - start))
            if not chunk:
                return
            start += len(chunk)
            yield chunk
