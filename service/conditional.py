"""Conditional requests: entity tags over a resource's JSON (RFC 9110, 13)."""

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


def etag_of(resource: BaseModel) -> str:
    """Return the strong entity tag of a resource."""
    return f'"{hashlib.sha256(resource.model_dump_json().encode()).hexdigest()[:32]}"'


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
    """Refuse a write by a caller who saw the resource otherwise than it is.

    Raises:
        ServiceError: ``precondition_failed`` (412).
    """
    if if_match is None:
        return
    tags = {tag.strip() for tag in if_match.split(",")}  # a weak tag matches nothing
    if "*" not in tags and etag_of(resource) not in tags:
        raise ServiceError(412, "precondition_failed", "The resource has changed since.")
