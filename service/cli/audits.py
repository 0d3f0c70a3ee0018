"""Commands of whoever checks erasures: audit a closed request later, or make its audit again."""

import json
from typing import Annotated, Any

import typer

from service.cli.operate import Json
from service.cli.output import CommandFailed, Exit, Output
from service.cli.requests import Key, RequestId, Url

SHOWN = 20  # differences printed for a person; --json has them all


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (audit, reproduce):
        app.command()(command)


def audit(
    *,
    request_id: RequestId,
    references: Annotated[
        bool, typer.Option("--references", help="Train the references of the policy's look.")
    ] = False,
    follow: Annotated[bool, typer.Option(help="Show the progress until the end.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Audit a closed request against references; its own report is not changed."""
    from service.cli import calls

    if not references:
        words = "Say --references: the audit trains as many networks as the policy looks at."
        raise CommandFailed(words, Exit.USAGE)
    output = Output(as_json=as_json)
    made = calls.audit_request(output, request_id, url, key, follow=follow)
    output.document(made)
    if not as_json:
        names = ("id", "status", "verdict", "base_version", "num_samples")
        output.fields("Audit", {name: made[name] for name in names})


def reproduce(
    *,
    request_id: RequestId,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a closed request's audit again and compare: exit code 0 reproduced, 1 it differs."""
    from service.cli import calls

    output = Output(as_json=as_json)
    made = calls.reproduce(output, request_id, url, key)
    found = made["comparison"]
    output.document({"request_id": str(request_id), "audit_id": made["id"], **found})
    if not as_json:
        _tell(output, found)
    raise typer.Exit(Exit.OK if found["reproduced"] else Exit.FAILED)


def _tell(output: Output, found: dict[str, Any]) -> None:
    """Print the outcome for a person."""
    within = "exactly" if found["exact"] else f"within {found['tolerance']:g} of each figure"
    differences, skipped = found["differences"], found["not_compared"]
    if found["reproduced"]:
        output.say(f"Reproduced: {found['compared']} figures came out again, {within}.")
    else:
        output.say(f"Not reproduced: {len(differences)} of {found['compared']} figures differ.")
        rows = [
            [d["figure"], *(json.dumps(d[side]) for side in ("recorded", "found"))]
            for d in differences[:SHOWN]
        ]
        output.table(["figure", "signed", "found"], rows)
        if len(differences) > SHOWN:
            output.say(f"… and {len(differences) - SHOWN} more; --json prints them all.")
    if skipped:
        output.say(f"Not compared ({len(skipped)}):")
        for entry in skipped[:SHOWN]:
            output.say(f"  {entry['figure']}: {entry['why']}")
        if len(skipped) > SHOWN:
            output.say(f"  … and {len(skipped) - SHOWN} more; --json prints them all.")
