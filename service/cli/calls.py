"""What the user's commands ask of the service; imported only when one of them runs."""

import time
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from service.cli.connection import connect
from service.cli.output import CommandFailed, Exit, Output
from service.client import ENVELOPE, PAGE, PDF, STATEMENT, ExpungeClient

POLL_S = 1.0
NEWEST = 50
CLOSED = frozenset({"completed", "cancelled", "rejected", "failed"})
MEDIA_TYPES = {"html": PAGE, "dsse": ENVELOPE, "json": STATEMENT, "pdf": PDF}

Json = dict[str, Any]


def register_dataset(
    name: str, manifest: str, fields: Json, url: str | None, key: str | None
) -> Json:
    """Register a data set by the path of its manifest on the server."""
    with connect(url, key) as client:
        return client.register_dataset(name, manifest, **_given(fields))


def register_model(
    fields: Json, weights: str, url: str | None, key: str | None, *, wait: bool
) -> Json:
    """Register a model, with a local file uploaded, and wait for the check of its weights.

    Raises:
        CommandFailed: The weights were refused.
    """
    with connect(url, key) as client:
        local = Path(weights).is_file()
        model = client.register_model(weights=weights, upload=local, **_given(fields))
        if wait:
            model = client.wait_for_model(model["id"], timeout_s=float("inf"))
    if model["status"] == "failed":
        raise CommandFailed(f"The model was refused: {model['reason']}", Exit.FAILED, model)
    return model


def forget(output: Output, order: Json, url: str | None, key: str | None, *, follow: bool) -> Json:
    """Open a deletion request or a group and, where asked, follow it to its end.

    Raises:
        CommandFailed: It ended without being completed.
    """
    given = _given(order)
    with connect(url, key) as client:
        made = client.open_request(**given)
        if not follow:
            return made
        return _wait_for_group(client, made) if "members" in made else _follow(output, client, made)


def act(request_id: UUID, action: str, fields: Json, url: str | None, key: str | None) -> Json:
    """Do something to an open request and return it."""
    with connect(url, key) as client:
        return client.act(str(request_id), action, **fields)


def status(
    output: Output, request_id: UUID, url: str | None, key: str | None, *, follow: bool
) -> Json:
    """Return where a request stands, after following it to its end where asked."""
    with connect(url, key) as client:
        request = client.get_request(str(request_id))
        return _follow(output, client, request) if follow else request


def qualify(
    model_id: UUID, method: str, body: Json, url: str | None, key: str | None, *, wait: bool
) -> Json:
    """Start the trials of a method and return the qualification, on wish once they are over.

    Raises:
        CommandFailed: They are over and the method is not qualified.
    """
    with connect(url, key) as client:
        made = client.qualify(str(model_id), method, **_given(body))
        if not wait:
            return made
        made = client.wait_for_qualification(str(model_id), made["id"])
    if made["state"] != "live":
        words = f"The qualification is {made['state']}: {made['reason']}"
        raise CommandFailed(words, Exit.NOT_CLOSED, made)
    return made


def audit_request(
    output: Output, request_id: UUID, url: str | None, key: str | None, *, follow: bool
) -> Json:
    """Have a closed request audited against references and, where asked, follow it to its end."""
    with connect(url, key) as client:
        made = client.audit_request(str(request_id))
        return _follow(output, client, made, "audit") if follow else made


def reproduce(output: Output, request_id: UUID, url: str | None, key: str | None) -> Json:
    """Have a closed request's audit made again and return that audit once it is completed.

    Raises:
        CommandFailed: It could not be made.
    """
    with connect(url, key) as client:
        return _follow(output, client, client.reproduce(str(request_id)), "audit")


def list_requests(output: Output, url: str | None, key: str | None) -> None:
    """Print the newest requests."""
    with connect(url, key) as client:
        newest = [item for item, _ in zip(client.list_requests(), range(NEWEST), strict=False)]
    output.document(newest)
    if not output.as_json:
        names = ("id", "status", "verdict", "num_samples", "due_at")
        rows = [[item[name] for name in names] for item in newest]
        output.table(["request", "status", "verdict", "samples", "due"], rows)


def report(request_id: UUID, form: str, url: str | None, key: str | None) -> bytes:
    """Return a request's report in one of its forms."""
    import json

    with connect(url, key) as client:
        if form not in MEDIA_TYPES:
            return client.report_file(str(request_id), form)
        content = client.report(str(request_id), MEDIA_TYPES[form])
    if isinstance(content, bytes):
        return content
    text = content if isinstance(content, str) else json.dumps(content, indent=2)
    return text.encode()


def _given(fields: Json) -> Json:
    """Leave out what the caller did not give."""
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _wait_for_group(client: ExpungeClient, group: Json) -> Json:
    """Wait until all members are closed; each has a progress of its own at its request."""
    group = client.wait(group["id"], kind="group", timeout_s=float("inf"))
    if group["status"] != "completed":
        raise CommandFailed(f"The group is {group['status']}.", Exit.NOT_CLOSED, group)
    return group


def _follow(output: Output, client: ExpungeClient, request: Json, kind: str = "request") -> Json:
    """Show the progress until the request or audit is closed.

    Raises:
        CommandFailed: It ended without a verdict that closes it.
    """
    read = client.get_audit if kind == "audit" else client.get_request
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=output.console) as bars:
        bar = bars.add_task("waiting", total=100, detail="")
        while True:
            progress = request["progress"]
            bars.update(
                bar,
                description=progress["phase"],
                completed=progress["percent"],
                detail=progress.get("detail") or "",
            )
            if request["status"] in CLOSED:
                break
            time.sleep(POLL_S)
            request = read(request["id"])
    if request["status"] != "completed":
        reason = request.get("reason") or "no reason was given"
        words = f"The {kind} is {request['status']}: {reason}"
        raise CommandFailed(words, Exit.NOT_CLOSED, request)
    return request
