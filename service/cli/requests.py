"""Commands of whoever uses Expunge; they speak to the HTTP service."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from service.cli.operate import Json
from service.cli.output import CommandFailed, Exit, Output

Url = Annotated[str | None, typer.Option(help="The service's address. [EXPUNGE_URL]")]
Key = Annotated[
    str | None, typer.Option(help="API key. [EXPUNGE_API_KEY, or admin.key in EXPUNGE_HOME]")
]
Rungs = Annotated[list[str] | None, typer.Option(help="A rung of the ladder, in order; repeat.")]
IdFile = Annotated[
    Path | None, typer.Option(help="A file with sample ids, one a line.", exists=True)
]
Level = Annotated[str, typer.Option(help="references, qualified or none.")]
Duplicates = Annotated[
    bool, typer.Option(help="Forget samples with equal files too, whatever their id.")
]
Pool = Annotated[
    bool, typer.Option(help="Train ten models more, to teach muda what single samples look like.")
]
Approval = Annotated[
    bool, typer.Option(help="What passed waits for `expunge approve` before it is promoted.")
]
Dataset = Annotated[
    UUID | None, typer.Option(help="Instead of a model: all models of this data set.")
]
LeaveOut = Annotated[
    list[UUID] | None, typer.Option(help="With --dataset: a model that is not asked; repeat.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and price it; write nothing.")]
RequestId = Annotated[UUID, typer.Argument(help="The deletion request's id.")]


class Format(StrEnum):
    """What a report can be had as."""

    HTML = "html"
    DSSE = "dsse"
    JSON = "json"
    PDF = "pdf"
    REPLY = "reply"
    BUNDLE = "bundle"
    RENDERINGS = "renderings"


_SUFFIXES = {"dsse": "dsse.json", "reply": "txt", "bundle": "zip", "renderings": "dsse.json"}


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("register-dataset")(register_dataset)
    app.command("register-model")(register_model)
    for command in (qualify, forget, status, report):
        app.command()(command)
    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    app.command(context_settings=settings)(verify)


def register_dataset(
    *,
    name: Annotated[str, typer.Argument(help="A name of your choice.")],
    manifest: Annotated[str, typer.Argument(help="Path or file:// URL under a data root.")],
    root: Annotated[
        str | None, typer.Option(help="Folder that uris are relative to; default: the manifest's.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="parquet, csv, image_parquet or image_folder."),
    ] = None,
    class_name: Annotated[
        list[str] | None, typer.Option(help="Name of a class, in order; repeat.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Register a data set by its manifest."""
    from service.cli import calls

    fields = {"root": root, "format": form, "class_names": class_name}
    made = calls.register_dataset(name, manifest, fields, url, key)
    show(Output(as_json=as_json), "Data set", made)


def register_model(
    *,
    name: Annotated[str, typer.Argument(help="A name of your choice.")],
    dataset: Annotated[UUID, typer.Option(help="Id of the data set it was trained on.")],
    architecture: Annotated[str, typer.Option(help="As expunge:small_cnn, torchvision:resnet18.")],
    weights: Annotated[str, typer.Option(help="A safetensors file: uploaded if it is here.")],
    preprocessing: Annotated[str, typer.Option(help="JSON, or @file: mean, std, size, channels.")],
    recipe: Annotated[str | None, typer.Option(help="JSON, or @file: how it was trained.")] = None,
    kwargs: Annotated[str | None, typer.Option(help="JSON, or @file: for the network.")] = None,
    classifier: Annotated[str | None, typer.Option(help="Name of the last layer.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the weights are checked.")] = True,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Register a trained classifier; a worker checks that its weights fit."""
    from service.cli import calls

    body = {
        "name": name,
        "dataset_id": str(dataset),
        "architecture": architecture,
        "preprocessing": _json(preprocessing),
        "recipe": _json(recipe),
        "architecture_kwargs": _json(kwargs),
        "classifier": classifier,
    }
    output = Output(as_json=as_json)
    show(output, "Model", calls.register_model(body, weights, url, key, wait=wait))


def qualify(
    *,
    model_id: Annotated[UUID, typer.Argument(help="The model to try the method on.")],
    method: Annotated[str, typer.Argument(help="muda, distilled_recovery or finetune.")],
    trials: Annotated[int, typer.Option(help="Each trains the first look's references.")] = 10,
    kind: Annotated[
        list[str] | None, typer.Option(help="class or mislabelled; repeat. Default: both.")
    ] = None,
    policy: Annotated[str, typer.Option(help="The verdict's policy.")] = "standard",
    seed: Annotated[int | None, typer.Option(help="Draws the trials; default: drawn.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the trials are over.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Try a method on a model, so that requests with --audit qualified need no references."""
    from service.cli import calls

    body = {"trials": trials, "kinds": kind, "policy": policy, "seed": seed}
    made = calls.qualify(model_id, method, body, url, key, wait=wait)
    show(Output(as_json=as_json), "Qualification", made)


def forget(
    *,
    model_id: Annotated[UUID | None, typer.Argument(help="The model that must forget.")] = None,
    dataset: Dataset = None,
    leave_out: LeaveOut = None,
    sample: Annotated[list[str] | None, typer.Option(help="A sample's id; repeat.")] = None,
    samples: IdFile = None,
    label: Annotated[list[int] | None, typer.Option(help="A whole class; repeat.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="A person's id; repeat.")] = None,
    subject_request_id: Annotated[str | None, typer.Option(help="Your own number.")] = None,
    regulation: Annotated[str, typer.Option(help="gdpr, uk_gdpr, ccpa or other.")] = "gdpr",
    submitted: Annotated[str | None, typer.Option(help="When the person asked, ISO 8601.")] = None,
    policy: Annotated[str, typer.Option(help="The verdict's policy.")] = "standard",
    method: Rungs = None,
    audit: Level = "references",
    duplicates: Duplicates = False,
    pool: Pool = False,
    approval: Approval = False,
    dry_run: DryRun = False,
    follow: Annotated[bool, typer.Option(help="Show the progress until the end.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Ask a model, or all of a data set, to forget samples: by id, by label or by person."""
    body = _target(model_id, dataset, leave_out) | {
        "sample_ids": [*(sample or []), *_lines(samples)],
        "labels": label,
        "subject_ids": subject,
        "subject_request_id": subject_request_id,
        "regulation": regulation,
        "submitted_time": submitted,
        "policy": policy,
        "ladder": method,
        "audit": audit,
        "include_duplicates": "byte_equal" if duplicates else None,
        **_on(pool=pool, approval=approval, dry_run=dry_run),
    }
    _forget(Output(as_json=as_json), body, url, key, follow=follow and not dry_run)


def status(
    request_id: Annotated[UUID | None, typer.Argument(help="Left out: the newest ones.")] = None,
    follow: Annotated[bool, typer.Option(help="Show the progress until the end.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Say where a deletion request stands."""
    from service.cli import calls

    output = Output(as_json=as_json)
    if request_id is None:
        calls.list_requests(output, url, key)
        return
    show(output, "Request", calls.status(output, request_id, url, key, follow=follow))


def report(
    *,
    request_id: RequestId,
    form: Annotated[Format, typer.Option("--format", help="The form to fetch.")] = Format.HTML,
    to: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Fetch a request's signed report into a file, or what is made from it.

    html, pdf: to read. dsse: the signed envelope. json: its statement. reply: a letter to the
    person. bundle: a zip to redo the audit with. renderings: signed digests of page and PDF.
    """
    from service.cli import calls

    kind = form.value if form in {Format.REPLY, Format.BUNDLE, Format.RENDERINGS} else "report"
    path = to or Path(f"{kind}-{request_id}.{_SUFFIXES.get(form.value, form.value)}")
    path.write_bytes(calls.report(request_id, form.value, url, key))
    output = Output(as_json=as_json)
    output.document({"path": str(path), "format": form.value})
    output.say(f"The report is in {path}.")


def verify(context: typer.Context) -> None:
    """Check a report's signature and files, without the service: report.dsse.json --jwks FILE ….

    `--help` after the command lists the checks.
    """
    from service import verify as verifier

    raise typer.Exit(verifier.main(context.args))


def show(output: Output, title: str, values: dict[str, Any]) -> None:
    """Print one resource; nested members are for programs."""
    output.document(values)
    if not output.as_json:
        plain = {name: v for name, v in values.items() if not isinstance(v, dict | list)}
        output.fields(title, plain)


def _on(**flags: bool) -> dict[str, bool]:
    """Return the flags that are set."""
    return {name: True for name, flag in flags.items() if flag}


def _target(
    model_id: UUID | None, dataset: UUID | None, leave_out: list[UUID] | None
) -> dict[str, Any]:
    """Return who is asked: one model, or all of a data set."""
    if (model_id is None) == (dataset is None):
        raise CommandFailed("Name either a model or --dataset.", Exit.USAGE)
    if model_id is not None:
        return {"model_id": str(model_id)}
    return {"dataset_id": str(dataset), "leave_out": [str(model) for model in leave_out or ()]}


def _forget(
    output: Output, body: dict[str, Any], url: str | None, key: str | None, *, follow: bool
) -> None:
    """Open a request or a group and print it, or the price of a dry run."""
    from service.cli import calls
    from service.cli.prices import show_price

    made = calls.forget(output, body, url, key, follow=follow)
    if not made.get("dry_run"):
        show(output, "Group" if "members" in made else "Request", made)
    elif "members" in made:
        output.document(made)
        for member in made["members"] if not output.as_json else ():
            show_price(output, member)
    else:
        output.document(made)
        show_price(output, made)


def _lines(path: Path | None) -> list[str]:
    """Return a file's lines without the empty ones."""
    text = "" if path is None else path.read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _json(text: str | None) -> Any:  # noqa: ANN401 - any JSON value
    """Read JSON from the command line, or from the file that ``@name`` names."""
    if text is None:
        return None
    try:
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise CommandFailed(f"This is no JSON: {text[:80]} ({error})", Exit.USAGE) from error
