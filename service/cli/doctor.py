"""`expunge doctor`: check this installation and say what to do."""

import subprocess
import sys
import time
from typing import Annotated

import typer
from rich.markup import escape

from service.cli.operate import Json
from service.cli.output import CommandFailed, Exit, Output

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(doctor)


def doctor(
    audit: Annotated[
        bool, typer.Option("--audit", help="Audit networks that only hide: all of them must FAIL.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check this installation and say what to do: versions, device, database, broker, keys, …."""
    if audit:
        options = ["--json"] if as_json else []
        command = [sys.executable, "-m", "worker.doctor", "--audit", *options]
        raise typer.Exit(subprocess.run(command, check=False).returncode)
    raise typer.Exit(_examine(Output(as_json=as_json)))


def _examine(output: Output) -> Exit:
    from pydantic import ValidationError

    from service.config import get_settings
    from service.doctor import Status, examine

    try:
        settings = get_settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        words = f"The settings (EXPUNGE_…) cannot be read: {wrong}"
        raise CommandFailed(words, Exit.FAILED) from None
    start, findings = time.perf_counter(), []
    for finding in examine(settings):
        findings.append(finding)
        if not output.as_json:
            mark = f"[{_STYLES[finding.status]}]{finding.status:<5}[/]"
            output.console.print(mark, f"{finding.name}: {escape(finding.detail)}")
            if finding.action:
                output.say(f"      → {finding.action}")
    failed = any(finding.status == Status.FAIL for finding in findings)
    document = {
        "ok": not failed,
        "checks": [finding.to_json() for finding in findings],
        "seconds": round(time.perf_counter() - start, 1),
    }
    output.document(document)
    return Exit.FAILED if failed else Exit.OK
