"""Make, list, rotate and revoke the tenant's API keys."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Response

from service import keys
from service.dependencies import GuardedRoute, PartsDep, scope
from service.key_resources import Key, KeyOrder, KeyRotationOrder, KeyWithSecret
from service.ledger import Caller
from service.paging import Paging, paging
from service.problems import BODY_REFUSALS, problem_responses
from service.schemas import Page

_CALLER = ("invalid_credentials", "insufficient_scope", "invalid_request")
router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    route_class=GuardedRoute,
    responses=problem_responses(*_CALLER),
)
Admin = Annotated[Caller, scope("keys:admin")]


@router.post(
    "",
    status_code=201,
    summary="Make an API key",
    responses=problem_responses(
        *_CALLER, *BODY_REFUSALS, "unknown_scope", "already_expired", "quota_exceeded"
    ),
)
def create(order: KeyOrder, caller: Admin, parts: PartsDep, response: Response) -> KeyWithSecret:
    """Return a key, this once; it can neither do more nor last longer than its maker's."""
    wanted = keys.scopes_of(order.role, order.scopes, default=caller.scopes)
    with parts.database.write() as session:
        row, token = keys.grant_key(session, caller, order.name, wanted, order.expires_at)
        made = KeyWithSecret.made(row, token)
    response.headers["Location"] = f"/v1/keys/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return made


@router.get("", summary="List API keys, newest first", responses=problem_responses("bad_cursor"))
def list_keys(caller: Admin, parts: PartsDep, paging: Annotated[Paging, paging()]) -> Page[Key]:
    """Return one page, revoked and expired keys too."""
    with parts.database.read() as session:
        page = keys.page_of_keys(session, caller, paging.start, paging.limit)
    return paging.page(page, [Key.of(row) for row in page.items])


@router.get("/{key_id}", summary="Read an API key", responses=problem_responses("not_found"))
def get_key(key_id: uuid.UUID, caller: Admin, parts: PartsDep) -> Key:
    """Return a key without its secret."""
    with parts.database.read() as session:
        return Key.of(keys.get_key(session, caller.tenant_id, key_id))


@router.post(
    "/{key_id}/rotate",
    summary="Make another secret for a key",
    responses=problem_responses(*_CALLER, *BODY_REFUSALS, "not_found", "key_revoked"),
)
def rotate(
    key_id: uuid.UUID, order: KeyRotationOrder, caller: Admin, parts: PartsDep, response: Response
) -> KeyWithSecret:
    """Return the key anew; the present one stays valid until the grace period is over."""
    with parts.database.write() as session:
        row, token = keys.rotate_key(
            session, caller.tenant_id, key_id, order.grace_s, caller=caller
        )
        made = KeyWithSecret.made(row, token)
    response.headers["Cache-Control"] = "no-store"
    return made


@router.delete(
    "/{key_id}",
    status_code=204,
    summary="Revoke an API key",
    responses=problem_responses("not_found"),
)
def revoke(key_id: uuid.UUID, caller: Admin, parts: PartsDep) -> None:
    """Make the key useless from now on; its entry stays."""
    with parts.database.write() as session:
        keys.revoke(session, caller.tenant_id, key_id, caller.actor)
