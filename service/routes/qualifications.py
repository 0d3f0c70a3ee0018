"""Qualify methods on a model by trial erasures that erase nothing."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from service import ledger, tables
from service.dependencies import GuardedRoute, PartsDep, scope
from service.idempotency import Once, creation
from service.ledger import Caller
from service.lookups import version_number
from service.paging import Paging, paging
from service.problems import problem_responses
from service.qualification_resources import Qualification
from service.schemas import Page, QualificationOrder

router = APIRouter(
    prefix="/v1/models/{model_id}/qualifications",
    tags=["qualifications"],
    route_class=GuardedRoute,
    responses=problem_responses(
        "invalid_credentials", "insufficient_scope", "invalid_request", "not_found"
    ),
)


@router.post(
    "",
    status_code=202,
    summary="Qualify a method on a model",
    response_model=Qualification,
    responses=problem_responses(
        "invalid_credentials",
        "insufficient_scope",
        "invalid_request",
        "not_json",
        "not_found",
        "body_too_large",
        "quota_exceeded",
        "unsupported_media_type",
        "idempotency_key_in_use",
        "idempotency_key_reused",
        "model_not_ready",
        "model_rejected",
        "recipe_required",
        "too_few_trials",
        "too_many_trials",
        "unknown_method",
        "unknown_policy",
        "unknown_trial_kind",
    ),
)
def open_qualification(
    model_id: uuid.UUID,
    order: QualificationOrder,
    caller: Annotated[Caller, scope("audits:write")],
    parts: PartsDep,
    once: Annotated[Once, creation("audits:write")],
) -> Response:
    """Queue the trials; they erase nothing, and every qualification stays listed."""
    wish = ledger.QualificationOrder(
        model_id=model_id,
        method=order.method,
        policy=order.policy,
        trials=order.trials,
        kinds=tuple(order.kinds),
        seed=order.seed,
        plugins=parts.settings.plugin_methods,
    )
    with parts.database.write() as session:
        made = _resource(session, ledger.open_qualification(session, caller, wish))
        headers = {"Location": made.links.self, "Retry-After": "30"}
        return once.answer(session, made, 202, headers)


@router.get("", summary="List a model's qualifications, newest first")
def list_qualifications(
    model_id: uuid.UUID,
    caller: Annotated[Caller, scope("audits:read")],
    parts: PartsDep,
    paging: Annotated[Paging, paging()],
) -> Page[Qualification]:
    """Return one page, whatever became of them: failed and expired ones too."""
    with parts.database.read() as session:
        page = ledger.list_qualifications(session, caller, model_id, paging.start, paging.limit)
        return paging.page(page, [_resource(session, row) for row in page.items])


@router.get("/{qualification_id}", summary="Read a qualification")
def get_qualification(
    model_id: uuid.UUID,
    qualification_id: uuid.UUID,
    caller: Annotated[Caller, scope("audits:read")],
    parts: PartsDep,
    response: Response,
) -> Qualification:
    """Return where the trials stand and how they ended."""
    with parts.database.read() as session:
        row = ledger.get_qualification(session, caller, model_id, qualification_id)
        found = _resource(session, row)
    if found.state == "running":
        response.headers["Retry-After"] = "30"
    return found


def _resource(session: Session, row: tables.Qualification) -> Qualification:
    return Qualification.of(
        row,
        ledger.trials_of(session, row),
        ledger.qualification_progress_of(session, row),
        version_number(session, row.base_version_id),
    )
