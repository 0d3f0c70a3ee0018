"""Commands for API keys; they need the database, not the HTTP service."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from service.cli.operate import Json
from service.cli.output import CommandFailed, Exit, Output

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.tables import ApiKey

app = typer.Typer(help="Make, list, rotate and revoke API keys of a tenant.", no_args_is_help=True)

TenantName = Annotated[str, typer.Option("--tenant", help="The tenant's name.")]


@app.command()
def create(  # noqa: PLR0917 - options, given by name
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    tenant: TenantName = "default",
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope; repeat for several. All if left out.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="auditor, approver, operator or admin: scopes by name.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    from service import keys

    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with _writing() as session:
        owner = keys.ensure_tenant(session, tenant)
        scopes = keys.scopes_of(role, scope)
        row, token = keys.create_key(session, owner.id, name, scopes, expires_at=expires_at)
        values = _values(row) | {"key": token}
    output = Output(as_json=as_json)
    output.document(values)
    if not as_json:
        output.fields("New key, shown once", values)


@app.command("list")
def list_(tenant: TenantName = "default", as_json: Json = False) -> None:
    """List a tenant's keys; none of them shows its secret."""
    from service import keys

    with _writing() as session:
        owner = keys.ensure_tenant(session, tenant)
        rows = [_values(row) for row in keys.list_keys(session, owner.id)]
    output = Output(as_json=as_json)
    output.document(rows)
    if not as_json:
        columns = ("id", "name", "prefix", "created_at", "expires_at", "last_used_at", "revoked_at")
        output.table(columns, [[row[column] for column in columns] for row in rows])


@app.command()
def rotate(
    key_id: Annotated[UUID, typer.Argument(help="The key's id, from `keys list`.")],
    tenant: TenantName = "default",
    hours: Annotated[
        float, typer.Option(min=0, max=720, help="Hours for which the present secret stays valid.")
    ] = 24,
    as_json: Json = False,
) -> None:
    """Make another secret for a key and print it; it cannot be shown again."""
    from service import keys

    with _writing() as session:
        owner = keys.ensure_tenant(session, tenant)
        row, token = keys.rotate_key(session, owner.id, key_id, 3600 * hours)
        values = _values(row) | {"key": token}
    output = Output(as_json=as_json)
    output.document(values)
    if not as_json:
        output.fields("New secret, shown once", values)


@app.command()
def revoke(
    key_id: Annotated[UUID, typer.Argument(help="The key's id, from `keys list`.")],
    tenant: TenantName = "default",
    as_json: Json = False,
) -> None:
    """Make a key useless from now on."""
    from service import keys

    with _writing() as session:
        owner = keys.ensure_tenant(session, tenant)
        values = _values(keys.revoke(session, owner.id, key_id))
    output = Output(as_json=as_json)
    output.document(values)
    output.say(f"The key {values['prefix']} is revoked.")


@contextmanager
def _writing() -> Iterator["Session"]:
    from service.config import get_settings
    from service.database import Database
    from service.errors import ServiceError

    with closing(Database.from_settings(get_settings())) as database:
        if not database.is_current():
            raise CommandFailed("The database's schema is not current. Run: expunge migrate")
        try:
            with database.write() as session:
                yield session
        except ServiceError as error:
            problem = {"code": error.code, "detail": error.detail}
            raise CommandFailed(error.detail, Exit.FAILED, problem) from error


def _values(row: "ApiKey") -> dict[str, Any]:
    from service.key_resources import Key

    return Key.of(row).model_dump(mode="json")
