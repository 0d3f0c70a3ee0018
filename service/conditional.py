"""Conditional requests: entity tags over a resource's JSON (RFC 9110, 13).

A tag has two halves, `"<state>-<all>"`. The first is over what a decision rests on, without what
moves by itself while a run works or time passes; the second over everything that is shown.
`If-None-Match` compares whole tags, weakly. `If-Match` compares strong tags by their first half:
with the whole a caller could hardly ever withdraw a request that is being worked on.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Header, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from service import ledger
from service.dependencies import JSON_TYPE, Parts
from service.downloads import matches
from service.errors import ServiceError
from service.ledger import Caller

IfNoneMatch = Annotated[
    str | None, Header(description="An ETag: 304 while the resource is still that one.")
]
IfMatch = Annotated[
    str | None, Header(description="An ETag: 412 unless the resource is still that one.")
]
ACT_REFUSALS = ("not_found", "already_closed", "precondition_failed")
"""What anything done to an open request or group can be refused for."""
Read = Callable[[Session], BaseModel]
UNCHANGED: dict[int | str, dict[str, str]] = {304: {"description": "Nothing has changed."}}


PASSING = {"progress", "days_left", "tries", "passed_over"}
"""Members of a resource that tell how far the work is; no decision is out of date by them."""


def etag_of(resource: BaseModel) -> str:
    """Return the strong entity tag of a resource."""
    state, shown = resource.model_dump_json(exclude=PASSING), resource.model_dump_json()
    return f'"{_digest(state)}-{_digest(shown)}"'


def answer(
    resource: BaseModel, if_none_match: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a resource with its ETag, or 304 when the caller has it already."""
    etag = etag_of(resource)
    told = {"ETag": etag, **(headers or {})}
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=told)
    return Response(resource.model_dump_json(), headers=told, media_type=JSON_TYPE)


def act(parts: Parts, caller: Caller, if_match: str | None, read: Read, change: Read) -> Response:
    """Change a resource that is still as the caller saw it, and return it.

    Args:
        parts: Whose database is written to.
        caller: Whose turn it is while the resource is compared.
        if_match: The header; None: whatever the resource has become.
        read: Returns the resource as it is.
        change: Changes it and returns what it is then.

    Raises:
        ServiceError: ``precondition_failed`` (412), and what `change` raises.
    """
    with parts.database.write() as session:
        if if_match is not None:
            ledger.take_turn(session, caller.tenant_id)
            refuse_changed(if_match, read(session))
        return answer(change(session))


def refuse_changed(if_match: str, resource: BaseModel) -> None:
    """Refuse a write by a caller who saw the resource in another state; progress is none.

    Raises:
        ServiceError: ``precondition_failed`` (412).
    """
    tags = {tag.strip() for tag in if_match.split(",")}  # a weak tag matches nothing
    states = {tag.partition("-")[0] for tag in tags if tag.startswith('"')}
    if "*" not in tags and etag_of(resource).partition("-")[0] not in states:
        raise ServiceError(412, "precondition_failed", "The resource has changed since.")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
