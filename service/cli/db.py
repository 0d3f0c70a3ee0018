"""Commands about the database itself; they need its owner's password."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from service.cli.operate import Json
from service.cli.output import CommandFailed, Output

app = typer.Typer(help="The database's roles.", no_args_is_help=True)

PasswordFile = Annotated[
    Path | None, typer.Option(help="A file with the role's password; kept as it is if left out.")
]


@app.command()
def grant(
    role: Annotated[str, typer.Argument(help="A PostgreSQL role; made if missing.")],
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Let a role do all that Expunge does but change the audit log. Repeat after each migration."""
    grant_role(role, password_file)
    output = Output(as_json=as_json)
    output.document({"role": role})
    output.say(f"{role} can do what Expunge does, and not change the audit log.")


def grant_role(role: str, password_file: Path | None) -> None:
    """Give the role its rights, or raise CommandFailed."""
    from service.config import get_settings
    from service.database import Database
    from service.roles import RoleError
    from service.roles import grant as give

    password = None if password_file is None else _read(password_file)
    with closing(Database.from_settings(get_settings())) as database:
        if not database.is_current():
            raise CommandFailed("The database's schema is not current. Run: expunge migrate")
        try:
            give(database, role, password)
        except RoleError as error:
            raise CommandFailed(str(error)) from error


def _read(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandFailed(f"The password cannot be read: {error}") from error
    if not password:
        raise CommandFailed(f"{path} holds no password.")
    return password
