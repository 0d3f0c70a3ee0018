"""Commands about data sets that grow."""

from typing import Annotated
from uuid import UUID

import typer

from service.cli.operate import Json
from service.cli.output import Output
from service.cli.requests import Key, Url, show


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(grow)


def grow(
    *,
    dataset_id: Annotated[UUID, typer.Argument(help="The data set.")],
    manifest: Annotated[str, typer.Argument(help="The new samples: a path under a data root.")],
    form: Annotated[
        str | None,
        typer.Option("--format", help="parquet, csv, image_parquet or image_folder."),
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Add samples to a data set as its next revision; models keep the one that they have."""
    from service.cli.connection import connect

    fields = {} if form is None else {"format": form}
    with connect(url, key) as client:
        made = client.grow(str(dataset_id), manifest, **fields)
    show(Output(as_json=as_json), "Revision", made)
