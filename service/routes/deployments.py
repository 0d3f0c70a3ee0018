"""Attested deployments: which version serves where, and which still serve erased data."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from service import conditional, ledger, tables
from service.conditional import UNCHANGED, IfNoneMatch
from service.dependencies import GuardedRoute, PartsDep, scope
from service.deployment_resources import Deployment, DeploymentOrder, Word
from service.idempotency import Once, creation
from service.ledger import Caller, deployments
from service.ledger.deployments import Attestation
from service.paging import Paging, paging
from service.problems import BODY_REFUSALS, problem_responses
from service.schemas import Page

router = APIRouter(
    prefix="/v1",
    tags=["models"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
OF_MODEL = "/models/{model_id}/deployments"
Reader = Annotated[Caller, scope("models:read")]
Stale = Annotated[bool | None, Query(description="Serves and holds erased data.")]
Active = Annotated[bool | None, Query(description="Serves now.")]


@router.post(
    OF_MODEL,
    status_code=201,
    summary="Attest that a version serves",
    response_model=Deployment,
    responses=problem_responses(
        "invalid_credentials",
        "insufficient_scope",
        *BODY_REFUSALS,
        "not_found",
        "deployed_in_future",
        "idempotency_key_in_use",
        "idempotency_key_reused",
        "version_holds_erased_data",
        "version_not_promoted",
    ),
)
def attest_deployment(
    model_id: uuid.UUID,
    order: DeploymentOrder,
    caller: Annotated[Caller, scope("models:write")],
    parts: PartsDep,
    once: Annotated[Once, creation("models:write")],
) -> Response:
    """Keep that a version serves; what served in that environment before has ended.

    A version that holds erased data is refused, unless it was deployed before the erasure closed.
    """
    said = Attestation(**order.model_dump())
    with parts.database.write() as session:
        made = _resource(session, deployments.attest(session, caller, model_id, said))
        location = f"/v1/models/{model_id}/deployments/{made.id}"
        return once.answer(session, made, 201, {"Location": location})


@router.get(
    OF_MODEL,
    summary="List a model's deployments, newest first",
    responses=problem_responses("not_found", "bad_cursor"),
)
def list_of_model(
    *,
    model_id: uuid.UUID,
    caller: Reader,
    parts: PartsDep,
    active: Active = None,
    stale: Stale = None,
    paging: Annotated[Paging, paging()],
) -> Page[Deployment]:
    """Return one page."""
    with parts.database.read() as session:
        page = deployments.list_deployments(
            session,
            caller,
            model_id=model_id,
            active=active,
            stale=stale,
            cursor=paging.start,
            limit=paging.limit,
        )
        return _page(session, paging, page)


@router.get(
    "/deployments",
    summary="List all deployments, newest first",
    responses=problem_responses("bad_cursor"),
)
def list_deployments(
    *,
    caller: Reader,
    parts: PartsDep,
    environment: Annotated[Word | None, Query()] = None,
    active: Active = None,
    stale: Stale = None,
    paging: Annotated[Paging, paging()],
) -> Page[Deployment]:
    """Return one page; `stale=true` is the list of what still serves erased data."""
    with parts.database.read() as session:
        page = deployments.list_deployments(
            session,
            caller,
            environment=environment,
            active=active,
            stale=stale,
            cursor=paging.start,
            limit=paging.limit,
        )
        return _page(session, paging, page)


@router.get(
    OF_MODEL + "/{deployment_id}",
    summary="Read a deployment",
    response_model=Deployment,
    responses={**UNCHANGED, **problem_responses("not_found")},
)
def get_deployment(
    model_id: uuid.UUID,
    deployment_id: uuid.UUID,
    caller: Reader,
    parts: PartsDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return one deployment."""
    with parts.database.read() as session:
        row = deployments.get_deployment(session, caller, model_id, deployment_id)
        return conditional.answer(_resource(session, row), if_none_match)


@router.post(
    OF_MODEL + "/{deployment_id}/end",
    summary="Attest that a deployment has ended",
    response_model=Deployment,
    responses=problem_responses("not_found", "already_ended"),
)
def end_deployment(
    model_id: uuid.UUID,
    deployment_id: uuid.UUID,
    caller: Annotated[Caller, scope("models:write")],
    parts: PartsDep,
) -> Response:
    """Keep that nothing serves there any more."""
    with parts.database.write() as session:
        row = deployments.end_deployment(session, caller, model_id, deployment_id)
        return conditional.answer(_resource(session, row))


def _resource(session: Session, row: tables.Deployment) -> Deployment:
    (one,) = deployments.placed(session, [row])
    return Deployment.of(one)


def _page(
    session: Session, paging: Paging, page: ledger.Page[tables.Deployment]
) -> Page[Deployment]:
    return paging.page(
        page, [Deployment.of(one) for one in deployments.placed(session, page.items)]
    )
