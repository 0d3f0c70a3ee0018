"""Be told of events by Standard Webhooks instead of asking."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Response

from service.dependencies import GuardedRoute, PartsDep, scope
from service.errors import Unprocessable
from service.ledger import Caller
from service.ledger import webhooks as ledger
from service.outgoing import Rules, UrlRefused, check_url
from service.paging import Paging, paging
from service.problems import problem_responses
from service.schemas import Page
from service.webhook_resources import (
    Delivery,
    Endpoint,
    EndpointOrder,
    EndpointWithSecret,
    Message,
    RotationOrder,
)

router = APIRouter(
    prefix="/v1/webhook-endpoints",
    tags=["webhooks"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
sent = APIRouter(tags=["webhooks"])
Admin = Annotated[Caller, scope("webhooks:admin")]
_BODY = ("not_json", "body_too_large", "unsupported_media_type", "pepper_missing")
_CALLER = ("invalid_credentials", "insufficient_scope", "invalid_request")


@router.post(
    "",
    status_code=201,
    summary="Register a webhook endpoint",
    responses=problem_responses(
        *_CALLER, *_BODY, "url_refused", "unknown_event_type", "too_many_endpoints"
    ),
)
def register(
    order: EndpointOrder, caller: Admin, parts: PartsDep, response: Response
) -> EndpointWithSecret:
    """Register a URL and return the secret that its messages are signed with, this once."""
    refuse_url(order.url, parts.rules, "/url")
    wish = ledger.EndpointOrder(
        url=order.url, event_types=order.event_types, description=order.description
    )
    with parts.database.write() as session:
        row, secret = ledger.register_endpoint(session, caller, wish, parts.sealer)
        made = EndpointWithSecret.of(row, secret=secret)
    response.headers["Location"] = made.links["self"]
    response.headers["Cache-Control"] = "no-store"
    return made


@router.get("", summary="List webhook endpoints, newest first")
def list_endpoints(
    caller: Admin,
    parts: PartsDep,
    paging: Annotated[Paging, paging()],
) -> Page[Endpoint]:
    """Return one page."""
    with parts.database.read() as session:
        page = ledger.list_endpoints(session, caller, paging.start, paging.limit)
    return paging.page(page, [Endpoint.of(row) for row in page.items])


@router.get(
    "/{endpoint_id}",
    summary="Read a webhook endpoint",
    responses=problem_responses("not_found"),
)
def get_endpoint(endpoint_id: uuid.UUID, caller: Admin, parts: PartsDep) -> Endpoint:
    """Return an endpoint without its secret."""
    with parts.database.read() as session:
        return Endpoint.of(ledger.get_endpoint(session, caller, endpoint_id))


@router.delete(
    "/{endpoint_id}",
    status_code=204,
    summary="Delete a webhook endpoint",
    responses=problem_responses("not_found"),
)
def delete_endpoint(endpoint_id: uuid.UUID, caller: Admin, parts: PartsDep) -> None:
    """Tell the endpoint nothing any more and forget its secrets."""
    with parts.database.write() as session:
        ledger.delete_endpoint(session, caller, endpoint_id)


@router.post(
    "/{endpoint_id}/rotate",
    summary="Make another secret",
    responses=problem_responses(*_CALLER, *_BODY, "not_found"),
)
def rotate(
    endpoint_id: uuid.UUID,
    order: RotationOrder,
    caller: Admin,
    parts: PartsDep,
    response: Response,
) -> EndpointWithSecret:
    """Return another secret; the present one signs beside it until the overlap is over."""
    with parts.database.write() as session:
        row, secret = ledger.rotate_secret(
            session, caller, endpoint_id, parts.sealer, order.overlap_s
        )
        made = EndpointWithSecret.of(row, secret=secret)
    response.headers["Cache-Control"] = "no-store"
    return made


@router.post(
    "/{endpoint_id}/enable",
    summary="Enable a webhook endpoint",
    responses=problem_responses("not_found", "illegal_move"),
)
def enable(endpoint_id: uuid.UUID, caller: Admin, parts: PartsDep) -> Endpoint:
    """Tell the endpoint of events from now on; what it missed can be replayed."""
    with parts.database.write() as session:
        return Endpoint.of(ledger.enable_endpoint(session, caller, endpoint_id))


@router.post(
    "/{endpoint_id}/disable",
    summary="Disable a webhook endpoint",
    responses=problem_responses("not_found", "illegal_move"),
)
def disable(endpoint_id: uuid.UUID, caller: Admin, parts: PartsDep) -> Endpoint:
    """Tell the endpoint nothing until it is enabled; what waits for it is given up."""
    with parts.database.write() as session:
        return Endpoint.of(ledger.disable_endpoint(session, caller, endpoint_id))


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    summary="Send a test message",
    responses=problem_responses("not_found", "endpoint_disabled"),
)
def send_test(endpoint_id: uuid.UUID, caller: Admin, parts: PartsDep) -> Delivery:
    """Send a message of the type `webhook.test`, whatever the endpoint asked for."""
    with parts.database.write() as session:
        return Delivery.of(ledger.try_endpoint(session, caller, endpoint_id), [])


@router.get(
    "/{endpoint_id}/deliveries",
    summary="List what an endpoint was told",
    responses=problem_responses("not_found", "bad_cursor"),
)
def list_deliveries(
    endpoint_id: uuid.UUID,
    caller: Admin,
    parts: PartsDep,
    paging: Annotated[Paging, paging()],
) -> Page[Delivery]:
    """Return one page of messages, newest first, each with its attempts."""
    with parts.database.read() as session:
        page = ledger.list_deliveries(session, caller, endpoint_id, paging.start, paging.limit)
    return paging.page(page, [Delivery.of(row, attempts) for row, attempts in page.items])


@router.post(
    "/{endpoint_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Send a message again",
    responses=problem_responses("not_found", "endpoint_disabled"),
)
def replay(
    endpoint_id: uuid.UUID, delivery_id: uuid.UUID, caller: Admin, parts: PartsDep
) -> Delivery:
    """Send the same message under the same id; one that is still pending stays as it is."""
    with parts.database.write() as session:
        row = ledger.replay_delivery(session, caller, endpoint_id, delivery_id)
        return Delivery.of(row, ledger.attempts_of(session, [row.id]).get(row.id, []))


def refuse_url(url: str, rules: Rules, pointer: str) -> None:
    """Refuse a URL that no call may go to, as far as its text tells."""
    try:
        check_url(url, rules)
    except UrlRefused as error:
        problem = [{"pointer": pointer, "detail": str(error)}]
        raise Unprocessable("url_refused", str(error), problem) from None


@sent.post("event", status_code=204, summary="What an endpoint is sent")
def receive(
    message: Message,
    webhook_id: Annotated[str, Header(description="The same at every attempt.")],
    webhook_timestamp: Annotated[int, Header(description="Of this attempt.")],
    webhook_signature: Annotated[str, Header(examples=["v1,K5oZfzN95Z9UVu1E"])],
) -> None:
    """Verify the signature over the raw body, remember the id, answer 2xx within ten seconds."""
