"""`Idempotency-Key`: a creating call that is sent again gets the first one's answer.

After draft-ietf-httpapi-idempotency-key-header. Only answers that created something are kept; a
refused or failed call gives its key back. docs/api.md tells callers, decision 0018 why.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

import structlog
from fastapi import Depends, FastAPI, Header, Request, Response, Security
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from service import ledger
from service.dependencies import JSON_TYPE, Parts, PartsDep, get_caller, read_form
from service.ledger import Caller, HeldCall, KeptAnswer, NamedCall
from service.ledger.calls import LOCK_S

REPLAYED = "Idempotent-Replayed"
RENEW_S = LOCK_S / 5
_CHUNK_BYTES = 1 << 20
Result = TypeVar("Result")
_log = structlog.get_logger("service.idempotency")
_KEY = r'^("[\x21\x23-\x7e]{1,255}"|[\x21\x23-\x7e]{1,255})$'


class Replay(Exception):
    """Ends a call whose answer is known."""

    def __init__(self, answer: KeptAnswer) -> None:
        super().__init__("replayed")
        self.answer = answer


@dataclass
class Once:
    """A creating call; `held` is null when the caller gave it no key."""

    held: HeldCall | None
    answered: bool = False

    def answer(
        self, session: Session, made: BaseModel, status: int, headers: Mapping[str, str]
    ) -> Response:
        """Return the answer and keep it in the transaction that creates what it tells of."""
        answer = KeptAnswer(status, dict(headers), made.model_dump_json().encode())
        if self.held is not None:
            ledger.keep_answer(session, self.held, answer)
            self.answered = True
        return _response(answer)


def creation(*scopes: str) -> Any:  # noqa: ANN401 - what FastAPI's Security returns
    """Ask for the call that creates; its key must have these scopes, replays too."""
    return Security(_begin, scopes=list(scopes))


def install(app: FastAPI) -> None:
    """Register the handler that answers replays."""
    app.add_exception_handler(Replay, _replay)


async def _begin(
    request: Request,
    caller: Annotated[Caller, Depends(get_caller)],
    parts: PartsDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern=_KEY,
            description="Names the call: sent again with the same body it gets the same answer.",
        ),
    ] = None,
) -> AsyncIterator[Once]:
    if idempotency_key is None:
        yield Once(None)
        return
    call = NamedCall(
        route=f"{request.method} {request.scope['route'].path}",
        path=request.url.path,
        key=idempotency_key.strip('"'),
        body_digest=await _body_digest(request),
    )

    days = parts.settings.idempotency_days
    begin = partial(ledger.begin_call, caller=caller, call=call, keep_days=days)
    held = await _in_transaction(parts, begin)
    if isinstance(held, KeptAnswer):
        raise Replay(held)
    once, ended = Once(held), False
    renewing = asyncio.create_task(_renew(parts, held))
    try:
        yield once
        ended = once.answered  # a call that created nothing, like a dry run, needs no key
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        if not ended:
            await _in_transaction(parts, partial(ledger.drop_call, held=held))


async def _in_transaction(parts: Parts, work: Callable[[Session], Result]) -> Result:
    def run() -> Result:
        with parts.database.write() as session:
            return work(session)

    return await run_in_threadpool(run)


async def _renew(parts: Parts, held: HeldCall) -> None:
    """Keep the lock of a call that takes long, as a big upload may, until it is cancelled."""
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            if not await _in_transaction(parts, partial(ledger.renew_call, held=held)):
                return  # answered, or taken over: `keep_answer` will tell
        except SQLAlchemyError as error:  # it is tried again long before the lock is over
            _log.warning("idempotency key not renewed", error=type(error).__name__)


async def _body_digest(request: Request) -> str:
    """Return the SHA-256 of the body; of a form's parts by name, for its boundary is by chance."""
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/"):
        return hashlib.sha256(await request.body()).hexdigest()
    form = await read_form(request)
    parts = sorted(form.multi_items(), key=lambda item: item[0])
    digest = hashlib.sha256()
    for name, value in parts:
        own = await run_in_threadpool(_file_digest, value) if isinstance(value, UploadFile) else ""
        own = own or hashlib.sha256(str(value).encode()).hexdigest()
        digest.update(f"{name}\n{own}\n".encode())
    return digest.hexdigest()


def _file_digest(upload: UploadFile) -> str:
    digest = hashlib.sha256()
    while chunk := upload.file.read(_CHUNK_BYTES):
        digest.update(chunk)
    upload.file.seek(0)
    return digest.hexdigest()


def _replay(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Replay)  # noqa: S101 - as registered
    response = _response(error.answer)
    response.headers[REPLAYED] = "true"
    return response


def _response(answer: KeptAnswer) -> Response:
    return Response(answer.body, answer.status_code, answer.headers, media_type=JSON_TYPE)
