"""The HTTP application: parts, routes, error handlers, and what every answer carries."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import idempotency, problems
from service.broker import celery_app
from service.config import Settings, get_settings
from service.database import Database
from service.dependencies import Parts
from service.metrics import METHODS, count_request
from service.openapi import install_openapi
from service.origins import Origin
from service.rates import Rate
from service.routes import (
    audits,
    datasets,
    deployments,
    growth,
    keys,
    log,
    metrics,
    models,
    opendsr,
    public,
    qualifications,
    renderings,
    reports,
    request_actions,
    request_audits,
    request_groups,
    requests,
    webhooks,
)
from service.signing import load_signer
from service.storage import Storage
from service.tracing import OFF, Span, Tracing

_log = structlog.get_logger("service.http")


_ROUTES = (
    public,
    datasets,
    growth,
    models,
    deployments,
    qualifications,
    requests,
    request_actions,
    request_audits,
    request_groups,
    audits,
    reports,
    renderings,
    log,
    webhooks,
    opendsr,
    keys,
)


# FastAPI's own records whole paths, queries and the texts of exceptions; `service.tracing` does not
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class StaleSchema(RuntimeError):
    """Raise when the database's schema is not the one that this code knows."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; its parts open when it starts and close when it ends.

    Args:
        settings: Default: from the environment.

    The start raises StaleSchema when the database must be migrated first, and SigningKeyError when
    there is no key outside the embedded mode.
    """
    chosen, tracing = settings or get_settings(), Tracing()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.parts = parts = await run_in_threadpool(open_parts, chosen)
        tracing.start(chosen, "expunge-api")
        yield
        await run_in_threadpool(tracing.close)
        await run_in_threadpool(parts.database.close)

    app = FastAPI(
        title="Expunge",
        summary="Machine unlearning as a service, audited against retrained references.",
        version=version("expunge"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    for module in _ROUTES:
        app.include_router(module.router)
    app.include_router(metrics.router)
    app.include_router(opendsr.public)
    problems.install(app)
    idempotency.install(app)
    install_openapi(app)
    app.add_middleware(Frame, max_body_bytes=chosen.max_body_bytes, tracing=tracing)
    return app


def open_parts(settings: Settings) -> Parts:
    """Open everything that the service works with.

    A database that is away for a while does not hold up the start: `/readyz` tells it, and its
    schema as well, until it is back.

    Raises:
        StaleSchema: The database must be migrated first.
    """
    database = Database.from_settings(settings)
    try:
        current = database.is_current()
    except OperationalError as error:
        _log.error("started without a database", error=type(error.orig).__name__)
        current = True
    if not current:
        database.close()
        raise StaleSchema("The database's schema is not current; run `expunge migrate`.")
    return Parts(
        settings=settings,
        database=database,
        storage=Storage(settings.storage_url),
        signer=load_signer(settings.signing_key_file, create=settings.mode == "embedded"),
        broker=celery_app(settings, "expunge-http"),
    )


class Frame:
    """Give each request an id, limit its body, log it without its query, secure its answer."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, tracing: Tracing = OFF) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = Origin.of_headers(Headers(scope=scope))
        with self._tracing.span("HTTP", "server", origin.traceparent) as span:
            here = origin._replace(traceparent=span.traceparent)
            scope.setdefault("state", {})["request_id"] = str(here.request_id)
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(**here.known)
            await self._serve(span, scope, receive, send)

    async def _serve(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        started, status = time.monotonic(), 500

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, scope["state"])
            await send(message)

        try:
            if self._too_large(headers.get("content-length", "")):
                response = problems.problem_response(
                    Request(scope), 413, "body_too_large", self._limit_words
                )
                await response(scope, receive, send_framed)
            else:
                await self._app(scope, self._limited(receive), send_framed)
        finally:
            _log_request(scope, status, time.monotonic() - started)
            _describe(span, scope, status)

    @property
    def _limit_words(self) -> str:
        return f"A body may have at most {self._max_body_bytes} bytes."

    def _too_large(self, content_length: str) -> bool:
        return content_length.isdecimal() and int(content_length) > self._max_body_bytes

    def _limited(self, receive: Receive) -> Receive:
        """Count what arrives, for bodies that do not say their length."""
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(413, self._limit_words)
            return message

        return receive_counted


def _add_headers(message: Message, state: dict[str, Any]) -> None:
    headers = MutableHeaders(scope=message)
    headers["X-Request-Id"] = state["request_id"]
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Cache-Control", "private, no-cache")
    rate: Rate | None = state.get("rate")
    headers.update(rate.headers if rate else {})


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "unrouted")
    count_request(scope["method"], route, status, seconds)
    caller = scope.get("state", {}).get("caller")
    _log.info(
        "request",
        method=scope["method"],
        route=route,
        status=status,
        milliseconds=round(1000 * seconds, 1),
        actor=getattr(caller, "actor", None),
    )


def _describe(span: Span, scope: Scope, status: int) -> None:
    """Name the span by OpenTelemetry's conventions for HTTP; the path itself may hold an id."""
    known, route = scope["method"] in METHODS, getattr(scope.get("route"), "path", None)
    span.rename(" ".join([scope["method"] if known else "HTTP", *([route] if route else [])]))
    span.tell(
        {
            "http.request.method": scope["method"] if known else "_OTHER",
            "http.route": route,
            "http.response.status_code": status,
        }
    )
    if status >= 500:
        span.fail(str(status))
