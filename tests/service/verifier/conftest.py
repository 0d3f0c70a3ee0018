"""A folder with the verifier, a report and the public keys, and nothing else of ours."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from service import commitment, verify
from service.ledger.report_context import ReportContext, VersionFacts
from service.reports import publish
from service.signing import Signer, load_signer
from service.storage import digest_file
from tests.service.verifier.running import IDS, SALT


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """Return a signer whose key was in use at the report's date."""
    signer = load_signer(tmp_path / "signing.pem", create=True)
    keys = signer.jwks()["keys"]
    keys[0]["nbf"] = 1_700_000_000
    return signer


@pytest.fixture
def context(report_context: ReportContext, tmp_path: Path) -> ReportContext:
    """Return a context about a weights file and ids that exist."""
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    (tmp_path / "ids.txt").write_text("\n".join(reversed(IDS)), encoding="utf-8")
    subject = replace(
        report_context.subject,
        num_samples=len(IDS),
        commitment_root=commitment.merkle_root(SALT, IDS),
    )
    moment = report_context.candidate.created_at
    candidate = VersionFacts(
        number=2, sha256=digest_file(weights), created_at=moment, state="current"
    )
    return replace(report_context, subject=subject, candidate=candidate)


@pytest.fixture
def folder(tmp_path: Path, context: ReportContext, signer: Signer) -> Path:
    """Return a folder with the verifier, a report and the public keys, and nothing else of ours."""
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(verify.__file__, folder / "verify.py")
    (folder / "report.dsse.json").write_bytes(publish(context, signer).envelope)
    (folder / "jwks.json").write_text(json.dumps(signer.jwks()))
    return folder
