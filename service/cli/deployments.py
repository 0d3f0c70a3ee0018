"""Commands about what serves where."""

from typing import Annotated
from uuid import UUID

import typer

from service.cli.operate import Json
from service.cli.output import Output
from service.cli.requests import Key, Url, show

_COLUMNS = ("environment", "model_id", "version", "deployed_at", "erased_samples", "stale_since")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (deployed, deployments):
        app.command()(command)


def deployed(
    *,
    model_id: Annotated[UUID, typer.Argument(help="The model.")],
    version: Annotated[int, typer.Argument(help="The number of the version that serves.")],
    environment: Annotated[str, typer.Option(help="Where it serves, as production-eu.")],
    by: Annotated[str, typer.Option(help="The pipeline, team or role that put it there.")],
    at: Annotated[str | None, typer.Option(help="Since when, ISO 8601; default: now.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Attest that a version serves; one that holds erased data is refused."""
    from service.cli.connection import connect

    fields = {} if at is None else {"deployed_at": at}
    with connect(url, key) as client:
        made = client.attest_deployment(str(model_id), version, environment, by, **fields)
    show(Output(as_json=as_json), "Deployment", made)


def deployments(
    *,
    stale: Annotated[bool, typer.Option("--stale", help="Only what serves erased data.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List what serves where, newest first."""
    from service.cli.connection import connect

    filters = {"stale": "true"} if stale else {"active": "true"}
    with connect(url, key) as client:
        found = list(client.deployments(**filters))
    output = Output(as_json=as_json)
    output.document({"items": found})
    if not as_json:
        output.table(list(_COLUMNS), [[one[name] for name in _COLUMNS] for one in found])
