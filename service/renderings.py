"""What is made from a signed report alone: page, PDF, the signed list of both, and the bundle.

All are deterministic: the same envelope and figures give the same bytes with the same version of
this package, so none of them is stored. Only the list and the bundle say when they were made.
"""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from service.commitment import canonical_json
from service.pages import Page, render_report
from service.pages.pdf import render_pdf
from service.signing import Signer
from service.verify import RENDERINGS_TYPE, STATEMENT_TYPE

PAGE_NAME, PDF_NAME = "report.html", "report.pdf"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = 0o100644 << 16


@dataclass(frozen=True)
class SignedFile:
    """A report as signed, with the figures that are at hand.

    Attributes:
        envelope: The DSSE envelope's bytes.
        figures: Content by SHA-256.
    """

    envelope: bytes
    figures: Mapping[str, bytes]

    @cached_property
    def payload(self) -> bytes:
        """The statement's bytes as they were signed."""
        return base64.b64decode(json.loads(self.envelope)["payload"])

    @cached_property
    def statement(self) -> dict[str, Any]:
        """The statement."""
        document: dict[str, Any] = json.loads(self.payload)
        return document

    @cached_property
    def page(self) -> Page:
        """The report as a page."""
        keyid = json.loads(self.envelope)["signatures"][0]["keyid"]
        return render_report(self.statement, keyid, self.figures)

    @cached_property
    def pdf(self) -> bytes:
        """The report as PDF, the envelope attached."""
        return render_pdf(self.envelope, self.figures)


def schema() -> bytes:
    """Return the JSON Schema of a report's statement."""
    return files("service").joinpath("predicate.schema.json").read_bytes()


def verifier() -> bytes:
    """Return the stand-alone verifier's source."""
    return files("service").joinpath("verify.py").read_bytes()


def sign_renderings(report: SignedFile, signer: Signer, listed_at: datetime) -> bytes:
    """Return a signed list of the renderings' digests: which page and PDF belong to the report.

    It can't stand in the report itself, from which they are made. It is signed when it is asked
    for, perhaps by a later key than the report, so it has a date of its own.
    """
    contents = {PAGE_NAME: report.page.html.encode(), PDF_NAME: report.pdf}
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": _sha256(content)}}
            for name, content in contents.items()
        ],
        "predicateType": RENDERINGS_TYPE,
        "predicate": {
            "envelope": {"sha256": _sha256(report.envelope)},
            "report": report.statement["predicate"]["report"]["id"],
            "listed_at": listed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "generator": {"name": "expunge", "version": version("expunge")},
        },
    }
    return signer.sign(canonical_json(statement))


def bundle(report: SignedFile, signer: Signer, listed_at: datetime) -> bytes:
    """Return a zip of all but the pixels that a third party needs to redo the audit.

    It holds no sample id: who may redo the audit has them, and their commitment is in the report.
    """
    predicate = report.statement["predicate"]
    lineage = predicate["lineage"]
    contents = {
        "README.md": files("service").joinpath("bundle.md").read_bytes(),
        "report.dsse.json": report.envelope,
        "statement.json": report.payload,
        "predicate.schema.json": schema(),
        "verify.py": verifier(),
        "jwks.json": _pretty(signer.jwks()),
        "renderings.dsse.json": sign_renderings(report, signer, listed_at),
        PAGE_NAME: report.page.html.encode(),
        PDF_NAME: report.pdf,
        "policy.json": _pretty(predicate["policy"].get("document")),
        "recipe.json": _pretty(lineage["recipe"]),
        "network.json": _pretty(lineage["model"]),
        "weights.json": _pretty(weights_of(predicate)),
    }
    for figure in predicate["figures"]:
        content = report.figures.get(figure["sha256"])
        if content is not None and _sha256(content) == figure["sha256"]:
            suffix = "png" if figure["media_type"] == "image/png" else "svg"
            contents[f"figures/{figure['sha256']}.{suffix}"] = content
    return _zip(contents)


def weights_of(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Return the digests of base, result and references, and where the first two can be had."""
    lineage = predicate["lineage"]
    model = lineage["model"]["id"]

    def place(facts: Mapping[str, Any]) -> dict[str, Any]:
        number = facts["number"]
        url = f"/v1/models/{model}/versions/{number}/weights?for_audit=true"
        path = None if number is None else url
        return {"number": number, "sha256": facts["sha256"], "path": path}

    return {
        "base": place(lineage["base"]),
        "result": place(lineage["result"]),
        "references": lineage["references"],
    }


def _zip(contents: Mapping[str, bytes]) -> bytes:
    """Store files by name, without times of their own: equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _REGULAR_FILE
            archive.writestr(entry, contents[name])
    return buffer.getvalue()


def _pretty(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
