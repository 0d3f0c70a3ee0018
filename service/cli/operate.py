"""Commands of whoever runs Expunge: start, watch, migrate, show."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import Output

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on. [EXPUNGE_HOST]")]
Port = Annotated[int | None, typer.Option(help="Port to listen on. [EXPUNGE_PORT]")]

_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (up, serve, worker, sweep, migrate):
        app.command()(command)
    app.command(context_settings=_PASS_ON)(demo)


def up(
    home: Annotated[
        Path | None, typer.Option(help="Folder for everything that is kept. [EXPUNGE_HOME]")
    ] = None,
    host: Host = None,
    port: Port = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Worker processes; 0: one a core, four at most.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Run everything on this machine: API, workers, dispatcher and sweeper. Nothing else needed."""
    from service.cli import operating

    operating.up(Output(as_json=as_json), home=home, host=host, port=port, workers=workers)


def serve(host: Host = None, port: Port = None) -> None:
    """Run the HTTP service alone."""
    from service.cli import operating

    operating.serve(host, port)


def worker(
    name: Annotated[str, typer.Option(help="Name of this worker on its host.")] = "worker",
) -> None:
    """Run one worker: it claims jobs and runs each in a child process of its own."""
    from service.cli import operating

    operating.become_worker(name)


def sweep() -> None:
    """Send what waits in the outbox and put right what was lost, until stopped."""
    from service.cli import operating

    operating.sweep()


def migrate(
    grant: Annotated[
        str | None, typer.Option(help="A role that is then given its rights, as by `db grant`.")
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="That role's password.")] = None,
    as_json: Json = False,
) -> None:
    """Bring the database's schema up to date."""
    from service.cli import operating
    from service.cli.db import grant_role

    output = Output(as_json=as_json)
    operating.migrate()
    if grant is not None:
        grant_role(grant, password_file)
    output.document({"schema": "current", "role": grant})
    output.say("The database's schema is current.")


def demo(context: typer.Context) -> None:
    """Show the main job on real images: three requests, audits and signed reports."""
    command = [sys.executable, "-m", "worker.demo", *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
