"""Commands about an open request: withdraw it, hold it, put its deadline off, decide about it."""

from typing import Annotated, Any

import typer

from service.cli.operate import Json
from service.cli.output import Output
from service.cli.requests import Key, RequestId, Url, show

Expected = Annotated[int | None, typer.Option("--version", help="Refuse if another version waits.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (cancel, hold, release, extend, approve, reject):
        app.command()(command)


def cancel(
    *, request_id: RequestId, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Withdraw a request; its samples stay out of all later training."""
    _act("cancel", request_id, {}, url, key, as_json=as_json)


def hold(
    *,
    request_id: RequestId,
    reason: Annotated[str, typer.Option(help="As legal_claims, legal_obligation or other.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Put a request on legal hold: nothing is unlearnt or purged until it is released."""
    _act("hold", request_id, {"reason": reason}, url, key, as_json=as_json)


def release(
    *, request_id: RequestId, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """End a request's legal hold."""
    _act("release", request_id, {}, url, key, as_json=as_json)


def extend(
    *,
    request_id: RequestId,
    reason: Annotated[
        str, typer.Option(help="complexity, number_of_requests or complexity_and_number.")
    ],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Put a request's deadline off, once; the person has to be told why."""
    _act("extend", request_id, {"reason": reason}, url, key, as_json=as_json)


def approve(
    *,
    request_id: RequestId,
    reason: Annotated[
        str, typer.Option(help="evidence_reviewed, accepted_risk or other.")
    ] = "evidence_reviewed",
    version: Expected = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Let the candidate that waits be promoted; needs another key than the request's."""
    _act("approve", request_id, _decision(reason, version), url, key, as_json=as_json)


def reject(
    *,
    request_id: RequestId,
    reason: Annotated[
        str, typer.Option(help="evidence_insufficient, utility_loss, wrong_samples or other.")
    ],
    version: Expected = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Put the candidate that waits aside; the run goes on with its next method."""
    _act("reject", request_id, _decision(reason, version), url, key, as_json=as_json)


def _decision(reason: str, version: int | None) -> dict[str, Any]:
    return {"reason": reason} | ({} if version is None else {"candidate_version": version})


def _act(
    action: str,
    request_id: RequestId,
    fields: dict[str, Any],
    url: str | None,
    key: str | None,
    *,
    as_json: bool,
) -> None:
    from service.cli import calls

    done = calls.act(request_id, action, fields, url, key)
    show(Output(as_json=as_json), "Request", done)
