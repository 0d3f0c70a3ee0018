"""What routes ask for: the service's parts, the caller, bodies that may carry a file."""

import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, BinaryIO, Generic, TypeVar

from celery import Celery
from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from service import keys, strict_json
from service.config import Settings
from service.database import Database
from service.erased import Eraser
from service.errors import InsufficientScope, InvalidCredentials, ServiceError, Unprocessable
from service.ledger import Caller
from service.outgoing import Rules
from service.rates import RateLimiter
from service.sealing import PepperError, Sealer, load_pepper, load_sealer
from service.signing import Signer
from service.storage import Storage
from service.tokens import FORMAT, parse_token
from service.webhooks import PURPOSE

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"
_LAST_USE_S = 60.0

Order = TypeVar("Order", bound=BaseModel)


@dataclass(frozen=True)
class Parts:
    """Everything that one service process holds."""

    settings: Settings
    database: Database
    storage: Storage
    signer: Signer
    broker: Celery
    last_use: dict[str, float] = field(default_factory=dict)

    @cached_property
    def sealer(self) -> Sealer:
        """What endpoint secrets are sealed with; raise ServiceError when the pepper is unusable."""
        try:
            return load_sealer(self.settings, PURPOSE)
        except PepperError:
            detail = "Without its pepper this installation can keep no webhook secrets."
            raise ServiceError(503, "pepper_missing", detail) from None

    @cached_property
    def rates(self) -> RateLimiter:
        """What counts the calls of keys and tenants."""
        return RateLimiter(self.settings)

    @cached_property
    def eraser(self) -> Eraser | None:
        """What recognises erased samples; None when the pepper is unusable."""
        try:
            return Eraser(load_pepper(self.settings))
        except PepperError:
            return None

    @cached_property
    def rules(self) -> Rules:
        """Where URLs that callers give may lead."""
        return Rules.of(self.settings)

    def authenticate(self, token: str) -> Caller:
        """Return the caller of a token; raise InvalidCredentials.

        The use of a key is noted about once a minute, so that reading calls take no write lock.
        """
        given = parse_token(token)
        if given is None:
            raise InvalidCredentials
        prefix = given.prefix
        moment = time.monotonic()
        if moment - self.last_use.get(prefix, 0.0) < _LAST_USE_S:
            with self.database.look() as session:
                return keys.authenticate(session, token)
        with self.database.read() as session:  # a wrong key must not cost a write either
            keys.authenticate(session, token)
        with self.database.write() as session:
            caller = keys.authenticate(session, token)
        self.last_use[prefix] = moment
        return caller


class StrictRequest(Request):
    """A request whose JSON is read strictly."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body's value; raise json.JSONDecodeError."""
        return strict_json.loads(await self.body())


class GuardedRoute(APIRoute):
    """A route that knows its caller, and the type of the body, before it reads the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Check key and scopes first: who may not call can't make the server read a body."""
        handle = super().get_route_handler()
        accepts = _accepted_types(self)
        scopes = _scopes_of(self.dependant)

        async def guarded(request: Request) -> Response:
            caller = request.state.caller = await run_in_threadpool(_authenticate, request)
            for scope in scopes:
                if scope not in caller.scopes:
                    raise InsufficientScope(scope)
            _check_content_type(request, accepts)
            _refuse_nul(request)
            return await handle(StrictRequest(request.scope, request.receive))

        return guarded


def get_parts(request: Request) -> Parts:
    """Return the parts of the app that serves this request."""
    parts: Parts = request.app.state.parts
    return parts


_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", bearerFormat=FORMAT)


async def get_caller(  # async only to be called in place: a thread for it costs more than it does
    request: Request, _: Annotated[object, Depends(_bearer)]
) -> Caller:
    """Return the caller, whose key has every scope of the route: `GuardedRoute` saw to it."""
    caller: Caller = request.state.caller
    return caller


async def provide_parts(request: Request) -> Parts:
    """Do what `get_parts` does, without a thread."""
    return get_parts(request)


PartsDep = Annotated[Parts, Depends(provide_parts)]


def scope(*names: str) -> Any:  # noqa: ANN401 - what FastAPI's Security returns
    """Ask for the caller, whose key must have these scopes."""
    return Security(get_caller, scopes=list(names))


@dataclass(frozen=True)
class Upload(Generic[Order]):
    """A body: the order itself, and the file that came with it as multipart."""

    order: Order
    file: BinaryIO | None = None


def json_or_form(
    schema: type[Order], part: str, file_part: str
) -> Callable[[Request], AsyncIterator[Upload[Order]]]:
    """Return a dependency that reads a JSON body, or a form with a JSON part and a file part.

    Args:
        schema: What the JSON must be.
        part: Name of the form part that holds the JSON.
        file_part: Name of the form part that holds the file.
    """

    async def read(request: Request) -> AsyncIterator[Upload[Order]]:
        if not _content_type(request).startswith("multipart/"):
            yield Upload(_validate(schema, await request.body()))
            return
        form = await read_form(request)
        try:
            text, file = form.get(part), form.get(file_part)
            if isinstance(text, UploadFile):
                text = (await text.read()).decode("utf-8", "replace")
            order = _validate(schema, (text or "").encode())
            yield Upload(order, file.file if isinstance(file, UploadFile) else None)
        finally:
            await form.close()

    return read


async def read_form(request: Request) -> FormData:
    """Return the form of a request, read once: at most two files and four fields."""
    return await request.form(max_files=2, max_fields=4)


def form_or_json_body(schema: type[BaseModel], part: str, file_part: str) -> dict[str, Any]:
    """Return the OpenAPI request body of :func:`json_or_form`."""
    reference = {"$ref": f"#/components/schemas/{schema.__name__}"}
    properties = {part: reference, file_part: {"type": "string", "format": "binary"}}
    form = {"type": "object", "required": [part, file_part], "properties": properties}
    content = {
        JSON_TYPE: {"schema": reference, "examples": _examples(schema)},
        FORM_TYPE: {"schema": form, "encoding": {part: {"contentType": JSON_TYPE}}},
    }
    return {"requestBody": {"required": True, "content": content}}


def _examples(schema: type[BaseModel]) -> dict[str, Any]:
    examples = schema.model_json_schema().get("examples", [])
    return {f"example{number}": {"value": value} for number, value in enumerate(examples, 1)}


def _validate(schema: type[Order], body: bytes) -> Order:
    try:
        return schema.model_validate(strict_json.loads(body))
    except ValidationError as error:
        entries = [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors()]
        raise RequestValidationError(entries) from None
    except json.JSONDecodeError as error:
        invalid = {
            "type": "json_invalid",
            "loc": ("body", error.pos),
            "msg": "JSON decode error",
            "ctx": {"error": error.msg},
        }
        raise RequestValidationError([invalid]) from None


def _authenticate(request: Request) -> Caller:
    """Return the caller, and count the call; raise InvalidCredentials or RateLimited."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise InvalidCredentials("Send the header Authorization: Bearer ex_live_….")
    parts = get_parts(request)
    caller = parts.authenticate(token.strip())
    request.state.rate, refusal = parts.rates.spend(caller, request.method)
    if refusal is not None:
        raise refusal
    return caller


def _scopes_of(dependant: Dependant) -> list[str]:
    """Return the scopes that a route's dependencies ask for, as the OpenAPI document has them."""
    found = list(dependant.own_oauth_scopes or ())
    for inner in dependant.dependencies:
        found += _scopes_of(inner)
    return list(dict.fromkeys(found))


def _accepted_types(route: APIRoute) -> tuple[str, ...]:
    extra = (route.openapi_extra or {}).get("requestBody", {}).get("content")
    if extra is not None:
        return tuple(extra)
    return (JSON_TYPE,) if route.body_field is not None else ()


def _check_content_type(request: Request, accepts: tuple[str, ...]) -> None:
    if accepts and _content_type(request) not in accepts:
        detail = f"Send the body as {' or '.join(accepts)}."
        raise ServiceError(415, "unsupported_media_type", detail)


def _refuse_nul(request: Request) -> None:
    """Refuse a character in the URL that PostgreSQL cannot hold."""
    if (
        "\0" in request.url.path
        or b"%00" in request.scope["query_string"]
        or "%00" in request.url.path
    ):
        raise Unprocessable("invalid_request", "The URL holds a NUL character.")


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
