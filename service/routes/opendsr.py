"""OpenDSR 2.0 for controllers that speak it: discovery, requests, status, cancellation.

Refusals are problem documents like all others and carry OpenDSR's `error` object beside; where the
native interface answers 409 or 422 this one answers 400, as its specification asks.
"""

import base64
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from service.commitment import canonical_json
from service.database import now
from service.dependencies import JSON_TYPE, GuardedRoute, PartsDep, scope
from service.errors import ServiceError
from service.ledger import Caller, cancel_request
from service.ledger.announcing import opendsr_facts
from service.ledger.opendsr import open_opendsr_request, opendsr_request
from service.opendsr import API_VERSION, PREFIX, OpendsrNotReady, OpendsrSigner
from service.opendsr_orders import read_order, request_order
from service.problems import problem_responses
from service.routes.requests import REFUSALS
from service.routes.webhooks import refuse_url

PEM_TYPE = "application/x-pem-file"
_CALLER = ("invalid_credentials", "insufficient_scope", "opendsr_not_ready")
_TOLD_AS = {409: 400, 422: 400}
_SIGNED = {"X-OpenDSR-Processor-Domain": "the domain", "X-OpenDSR-Signature": "of the raw body"}


def _signed(description: str) -> dict[str, Any]:
    headers = {
        name: {"description": words, "schema": {"type": "string"}}
        for name, words in _SIGNED.items()
    }
    schema = {"type": "object"}
    return {
        "description": description,
        "headers": headers,
        "content": {JSON_TYPE: {"schema": schema}},
    }


class OpendsrRoute(GuardedRoute):
    """A route whose refusals carry OpenDSR's error object and status."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Translate what the route raises."""
        handle = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handle(request)
            except ServiceError as error:
                raise _translated(error) from None

        return translated


router = APIRouter(
    tags=["opendsr"],
    route_class=OpendsrRoute,
    responses=problem_responses(*_CALLER),
)
public = APIRouter(tags=["opendsr"], responses=problem_responses("opendsr_not_ready"))


def get_signer(parts: PartsDep) -> OpendsrSigner:
    """Return who signs; raise ServiceError where the adapter is not configured."""
    try:
        return OpendsrSigner.from_settings(parts.settings)
    except OpendsrNotReady:
        words = "This installation does not speak OpenDSR."
        raise ServiceError(503, "opendsr_not_ready", words) from None


async def get_body(request: Request) -> bytes:
    """Return the body as it came."""
    return await request.body()


SignerDep = Annotated[OpendsrSigner, Depends(get_signer)]


@public.get(f"{PREFIX}/discovery", summary="What this OpenDSR processor can do")
def discovery(signer: SignerDep) -> JSONResponse:
    """Return version, identities, request types, and where the certificate is."""
    return JSONResponse(signer.discovery())


@public.get(
    f"{PREFIX}/certificate.pem",
    summary="The certificate that OpenDSR answers are signed with",
    response_class=Response,
    responses={200: {"content": {PEM_TYPE: {}}, "description": "X.509, PEM."}},
)
def certificate(signer: SignerDep) -> Response:
    """Return the certificate, and the chain after it if there is one."""
    return Response(signer.certificate, media_type=PEM_TYPE)


@router.post(
    f"{PREFIX}/requests",
    status_code=201,
    summary="Ask for an erasure by OpenDSR",
    response_class=Response,
    responses={
        201: _signed("The signed receipt."),
        **problem_responses(
            *_CALLER,
            "body_too_large",
            "unsupported_media_type",
            "opendsr_invalid",
            "opendsr_no_model",
            "opendsr_repeated",
            "opendsr_unsupported",
            "not_found",
            *REFUSALS,
            told_as=_TOLD_AS,
        ),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON_TYPE: {"schema": {"$ref": "#/components/schemas/OpendsrOrder"}}},
        }
    },
)
def open_request(
    caller: Annotated[Caller, scope("requests:write")],
    parts: PartsDep,
    signer: SignerDep,
    body: Annotated[bytes, Depends(get_body)],
) -> Response:
    """Accept an erasure; identities name the subjects of the model's manifest."""
    order, own = read_order(body, signer.domain)
    for place, url in enumerate(order.status_callback_urls):
        refuse_url(url, parts.rules, f"/status_callback_urls/{place}")
    with parts.database.write() as session:
        wish = request_order(session, caller, order, own, settings=parts.settings)
        request = open_opendsr_request(session, caller, wish, order.status_callback_urls)
    members = {
        "controller_id": str(caller.tenant_id),
        "expected_completion_time": _time(request.due_at),
        "received_time": _time(request.received_at),
        "encoded_request": base64.b64encode(body).decode(),
        "subject_request_id": order.subject_request_id,
    }
    return _answer(signer, signer.receipt(members), 201)


@router.get(
    f"{PREFIX}/requests/{{subject_request_id}}",
    summary="Where an OpenDSR request stands",
    response_class=Response,
    responses={200: _signed("The signed status."), **problem_responses("not_found")},
)
def get_status(
    subject_request_id: str,
    caller: Annotated[Caller, scope("requests:read")],
    parts: PartsDep,
    signer: SignerDep,
) -> Response:
    """Return the status in OpenDSR's words, and in our own ones under `extensions`."""
    with parts.database.read() as session:
        facts = opendsr_facts(opendsr_request(session, caller, subject_request_id))
    return _answer(signer, canonical_json(signer.status(facts, str(caller.tenant_id))), 200)


@router.delete(
    f"{PREFIX}/requests/{{subject_request_id}}",
    status_code=202,
    summary="Withdraw an OpenDSR request",
    response_class=Response,
    responses={
        202: _signed("The signed receipt."),
        **problem_responses("not_found", "already_closed", "illegal_move", told_as=_TOLD_AS),
    },
)
def cancel(
    subject_request_id: str,
    caller: Annotated[Caller, scope("requests:write")],
    parts: PartsDep,
    signer: SignerDep,
) -> Response:
    """Withdraw a request that is not closed."""
    with parts.database.write() as session:
        request = opendsr_request(session, caller, subject_request_id)
        cancel_request(session, caller, request.id)
        received = now(session)
    members = {
        "controller_id": str(caller.tenant_id),
        "received_time": _time(received),
        "subject_request_id": subject_request_id,
        "api_version": API_VERSION,
    }
    return _answer(signer, signer.receipt(members), 202)


def _answer(signer: OpendsrSigner, body: bytes, status: int) -> Response:
    headers = {**signer.headers(body), "Cache-Control": "no-store"}
    return Response(body, status, headers, media_type=JSON_TYPE)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _translated(error: ServiceError) -> ServiceError:
    status = _TOLD_AS.get(error.status_code, error.status_code)
    details = [
        {"domain": "expunge", "reason": error.code, "message": found["detail"]}
        for found in error.errors
    ] or [{"domain": "expunge", "reason": error.code, "message": error.detail}]
    told = {"code": status, "message": error.detail, "errors": details}
    return ServiceError(
        status, error.code, error.detail, error.errors, **error.extensions, error=told
    )
