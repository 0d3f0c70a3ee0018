"""Where work comes from: the id of the HTTP call, which follows a request into every job's logs.

It is bound to the context at the HTTP edge, stored with what the call creates, carried to workers
in Celery's headers, and bound again where a job runs. `X-Request-Id` and `traceparent` are taken
from callers only in their exact form, for both end up in logs.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import structlog

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Origin(NamedTuple):
    """The HTTP call that caused something; both null where nobody called.

    Attributes:
        request_id: The call's `X-Request-Id`.
        traceparent: The W3C trace context, version 00: the caller's, or that of the span in whose
            context this is, where spans are made.
    """

    request_id: str | None = None
    traceparent: str | None = None

    @classmethod
    def of_headers(cls, headers: Mapping[str, str]) -> "Origin":
        """Return the origin that HTTP headers name; an id is made where none is usable."""
        given, trace = headers.get("x-request-id", ""), headers.get("traceparent", "")
        return cls(
            given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex,
            trace if _TRACEPARENT.fullmatch(trace) else None,
        )

    @classmethod
    def present(cls) -> "Origin":
        """Return the origin that is bound to the present context."""
        bound = structlog.contextvars.get_contextvars()
        return cls(bound.get("request_id"), bound.get("traceparent"))

    @property
    def known(self) -> dict[str, str]:
        """What there is, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


NOBODY = Origin()


@contextmanager
def bound(origin: Origin, **ids: object) -> Iterator[None]:
    """Let every log line of the block carry the origin and these ids; nulls are left out."""
    texts = {name: str(value) for name, value in ids.items() if value is not None}
    with structlog.contextvars.bound_contextvars(**origin.known, **texts):
        yield
