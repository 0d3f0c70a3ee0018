"""Commands for the secret files of a deployment; nothing has to run for them."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.operate import Json
from service.cli.output import CommandFailed, Exit, Output

app = typer.Typer(help="Make a deployment's secrets; rotate its signing key.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder that holds the secrets.")]
OwnerIds = Annotated[
    str, typer.Option("--owner", help="USER:GROUP ids that the files are given to, as 10001:10001.")
]


@app.command()
def make(folder: Folder, owner: OwnerIds = "", as_json: Json = False) -> None:
    """Make every secret that is missing; none that is there is changed."""
    from service.secret_files import make_secrets
    from service.signing import SigningKeyError

    output = Output(as_json=as_json)
    try:
        made = [str(path) for path in make_secrets(folder, _ids(owner))]
    except (SigningKeyError, OSError) as error:
        raise CommandFailed(str(error)) from error
    output.document({"made": made})
    for path in made:
        output.say(f"Made {path}")
    if not made:
        output.say(f"All secrets are there in {folder}.")


@app.command()
def rotate(folder: Folder, owner: OwnerIds = "", as_json: Json = False) -> None:
    """Retire the signing key and make another; then start API and workers again."""
    from service.secret_files import rotate_signing_key
    from service.signing import SigningKeyError

    output = Output(as_json=as_json)
    try:
        keyid = rotate_signing_key(folder, _ids(owner))
    except (SigningKeyError, OSError) as error:
        raise CommandFailed(str(error)) from error
    output.document({"keyid": keyid})
    output.say(
        f"Reports are signed with {keyid} once API, sweep and workers have been started again."
    )


def _ids(owner: str) -> tuple[int, int] | None:
    if not owner:
        return None
    user, colon, group = owner.partition(":")
    if not (colon and user.isdecimal() and group.isdecimal()):
        raise CommandFailed(f"--owner takes two numbers like 10001:10001, not {owner}.", Exit.USAGE)
    return int(user), int(group)
