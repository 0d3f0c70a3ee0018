"""Commands for the audit log: check it, sign its head, save it. They need the database or files."""

import json
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.operate import Json
from service.cli.output import CommandFailed, Exit, Output

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.chain import Anchor, Checked
    from service.verify import Key

app = typer.Typer(help="Check, sign and save the audit log.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option("--tenant", help="The tenant's name.")]
SHOWN = 200  # damages that are printed for a person


@app.command()
def verify(
    tenant: Annotated[
        str | None, typer.Option(help="The tenant's name; every tenant if left out.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Check this file, as from `log export`, not the database.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A signed checkpoint kept elsewhere; repeat.")
    ] = None,
    jwks: Annotated[
        Path | None, typer.Option(help="The signer's keys; this installation's if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every entry and name all that was changed, removed, reordered, inserted or cut off.

    Exit codes: 0 whole, 1 damaged, 2 a file cannot be read.
    """
    output, paths = Output(as_json=as_json), checkpoint or []
    keys = _keys(jwks, needed=bool(paths))
    anchors = [_read_checkpoint(path, keys) for path in paths]
    checked = (
        {"file": _check_file(file, [anchor for _, anchor in anchors])}
        if file is not None
        else _check_database(tenant, anchors, keys)
    )
    output.document({name: _document(found) for name, found in checked.items()})
    for name, found in checked.items():
        _say(output, name, found)
    if not all(found.ok for found in checked.values()):
        raise typer.Exit(int(Exit.FAILED))


@app.command()
def checkpoint(
    path: Annotated[Path | None, typer.Option("--output", help="Write the envelope here.")] = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Sign the head of the log now; keep the file where Expunge's operator cannot reach it."""
    from functools import partial

    from service import ledger
    from service.checkpoints import sign_head
    from service.config import get_settings
    from service.signing import SigningKeyError, load_signer

    settings, output = get_settings(), Output(as_json=as_json)
    try:
        signer = load_signer(settings.signing_key_file, create=settings.mode == "embedded")
    except SigningKeyError as error:
        raise CommandFailed(str(error)) from error
    with _session(writing=True) as session:
        owner = _tenants(session, tenant)[tenant]
        row, _ = ledger.add_checkpoint(session, owner, partial(sign_head, signer=signer))
    if path is not None:
        path.write_bytes(row.envelope)
    output.document({"seq": row.seq, "hash": row.hash, "keyid": row.keyid, "output": path})
    output.say(f"Signed entry {row.seq}, {row.hash}, with {row.keyid}.")


@app.command()
def export(
    path: Annotated[
        Path, typer.Argument(help="Where the log is written, JSON; - is the standard output.")
    ],
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Save a tenant's whole log as `/v1/audit-log` serves it, in one file."""
    from service import ledger

    standard = str(path) == "-"
    with (
        _session() as session,
        nullcontext(sys.stdout) if standard else path.open("w", encoding="utf-8") as out,
    ):
        count = 0
        out.write('{"items": [')
        for entry in ledger.read_entries(session, _tenants(session, tenant)[tenant]):
            out.write(",\n" if count else "\n")
            json.dump(entry, out)
            count += 1
        out.write('\n], "next_cursor": null}\n')
    if not standard:
        output = Output(as_json=as_json)
        output.document({"output": str(path), "entries": count})
        output.say(f"{count} entries are in {path}.")


def _check_file(path: Path, anchors: "Sequence[Anchor]") -> "Checked":
    from service.chain import check_chain

    document = _read_json(path)
    items = document.get("items") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise CommandFailed(f'{path} is no log: {{"items": […]}} is expected.', Exit.USAGE)
    head = items[0] if items and isinstance(items[0], dict) else {}
    return check_chain(items, anchors, start=None if head.get("seq") != 1 else 1)


def _check_database(
    tenant: str | None, given: "Sequence[tuple[str, Anchor]]", keys: "Sequence[Key]"
) -> "dict[str, Checked]":
    from service import ledger

    with _session() as session:
        tenants = _tenants(session, tenant)
        known = {str(key) for key in tenants.values()}
        for owner, anchor in given:
            if owner not in known:
                detail = f"{anchor.name} is of tenant {owner}, whose log is not checked here."
                raise CommandFailed(detail, Exit.USAGE)
        return {
            name: ledger.verify_chain(
                session, key, [anchor for owner, anchor in given if owner == str(key)], keys
            )
            for name, key in tenants.items()
        }


def _keys(jwks: Path | None, *, needed: bool) -> "list[Key]":
    """Return the keys of a file, else those that this installation publishes, if it has any."""
    from service.config import get_settings
    from service.signing import published_keys_file
    from service.verify import keys_of_jwks

    path = jwks or published_keys_file(get_settings().signing_key_file)
    if jwks is None and not path.exists():
        if needed:
            raise CommandFailed("Give the signer's keys: --jwks FILE.", Exit.USAGE)
        return []
    try:
        return keys_of_jwks(_read_json(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandFailed(f"{path} is no JSON Web Key Set.", Exit.USAGE) from error


def _read_checkpoint(path: Path, keys: "Sequence[Key]") -> "tuple[str, Anchor]":
    from service.checkpoints import read_checkpoint
    from service.verify import VerificationError

    try:
        return read_checkpoint(path.read_bytes(), keys)
    except (OSError, VerificationError, KeyError, TypeError, ValueError) as error:
        raise CommandFailed(f"{path}: {error.args[-1]}", Exit.USAGE) from error


def _read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{path} cannot be read: {error}", Exit.USAGE) from error


def _tenants(session: "Session", name: str | None) -> dict[str, uuid.UUID]:
    """Return the tenants by name, one or all."""
    from sqlalchemy import select

    from service import tables

    query = select(tables.Tenant.name, tables.Tenant.id).order_by(tables.Tenant.name)
    found = {row.name: row.id for row in session.execute(query) if name in (None, row.name)}
    if name is not None and not found:
        raise CommandFailed(f"There is no tenant {name}.", Exit.USAGE)
    return found


@contextmanager
def _session(*, writing: bool = False) -> "Iterator[Session]":
    from service.config import get_settings
    from service.database import Database
    from service.errors import ServiceError

    with closing(Database.from_settings(get_settings())) as database:
        if not database.is_current():
            raise CommandFailed("The database's schema is not current. Run: expunge migrate")
        try:
            with database.write() if writing else database.read() as session:
                yield session
        except ServiceError as error:
            problem = {"code": error.code, "detail": error.detail, **error.extensions}
            raise CommandFailed(error.detail, Exit.FAILED, problem) from error


def _document(checked: "Checked") -> dict[str, Any]:
    from dataclasses import asdict

    return {"ok": checked.ok, **asdict(checked)}


def _say(output: Output, name: str, checked: "Checked") -> None:
    if checked.ok:
        output.say(f"{name}: whole, {checked.length} entries, {checked.first} to {checked.last}.")
    else:
        output.say(f"{name}: DAMAGED in {len(checked.findings)} places.")
    for found in checked.findings[:SHOWN]:
        numbers = f"{found.seq}" if found.seq == found.through else f"{found.seq}–{found.through}"
        output.say(f"  {numbers} {found.kind.replace('_', ' ')}: {found.detail}")
    if len(checked.findings) > SHOWN:
        output.say(f"  and {len(checked.findings) - SHOWN} more; --json lists all.")
    if checked.vouched is None or checked.vouched < checked.last:
        after = f"after entry {checked.vouched}" if checked.vouched else "at all"
        output.say(
            f"  No checkpoint vouches for it {after}: what is cut off there leaves no trace."
        )
