"""The command line: `expunge up | forget | status | report | reproduce | verify | …`.

Nothing heavy is imported before a command needs it, and torch never: what needs torch is started as
a child process.
"""

import sys

import typer

from service.cli import (
    actions,
    audits,
    db,
    deployments,
    doctor,
    growth,
    keys,
    log,
    operate,
    requests,
    secrets,
)
from service.cli.output import CommandFailed, print_failure

_EPILOG = (
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not reachable, 4 request ended"
    " without being closed. `reproduce`: 1 also where a figure differs. `verify`: 0 holds, 1 report"
    " changed, 2 unreadable, 3 another check fails, 4 signed by none of the keys."
)

app = typer.Typer(
    name="expunge",
    help="Machine unlearning as a service: erase training samples from image classifiers.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
operate.add_to(app)
doctor.add_to(app)
requests.add_to(app)
actions.add_to(app)
growth.add_to(app)
deployments.add_to(app)
audits.add_to(app)
app.add_typer(db.app, name="db")
app.add_typer(keys.app, name="keys")
app.add_typer(log.app, name="log")
app.add_typer(secrets.app, name="secrets")


def main() -> None:
    """Run the command line and exit with a documented code."""
    try:
        app()
    except CommandFailed as failure:
        print_failure(failure, as_json="--json" in sys.argv[1:])
        sys.exit(int(failure.code))
