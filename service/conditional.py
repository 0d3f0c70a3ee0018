"""Conditional requests: entity tags over a resource's JSON (RFC 9110, 13).

A tag has two halves, `"<state>-<all>"`. The first is over what a decision rests on, without what
moves by itself while a run works or time passes; the second over everything that is shown.
`If-None-Match` compares whole tags, weakly. `If-Match` compares strong tags by their first half:
with the whole a caller could hardly ever withdraw a request that is being worked on.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated

from fastapi import Header, Response
from pydantic import BaseModel

from service.dependencies import JSON_TYPE
from service.downloads import matches
from service.errors import ServiceError

IfNoneMatch = Annotated[
    str | None, Header(description="An ETag: 304 while the resource is still that one.")
]
IfMatch = Annotated[
    str | None, Header(description="An ETag: 412 unless the resource is still that one.")
]
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


def refuse_changed(if_match: str | None, resource: BaseModel) -> None:
    """Refuse a write by a caller who saw the resource in another state; progress is none.

    Raises:
        ServiceError: ``precondition_failed`` (412).
    """
    if if_match is None:
        return
    tags = {tag.strip() for tag in if_match.split(",")}  # a weak tag matches nothing
    states = {tag.partition("-")[0] for tag in tags if tag.startswith('"')}
    if "*" not in tags and etag_of(resource).partition("-")[0] not in states:
        raise ServiceError(412, "precondition_failed", "The resource has changed since.")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
