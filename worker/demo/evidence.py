"""Save each report as a stranger would want it, and have the stand-alone verifier judge it."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from service.client import ENVELOPE, PAGE, PDF, STATEMENT, ExpungeClient


@dataclass(frozen=True)
class Evidence:
    """Where one report's files are, and what the verifier said."""

    page: Path
    envelope: Path
    verification: Path
    accepted: bool
    altered_refused: bool


def save_report(client: ExpungeClient, key: str, kind: str, folder: Path) -> Evidence:
    """Write envelope, statement, page, PDF, reply, bundle and the verifier's output."""
    folder.mkdir(parents=True, exist_ok=True)
    envelope = folder / "report.dsse.json"
    envelope.write_bytes(client.report(key, ENVELOPE, kind=kind))
    page = folder / "report.html"
    page.write_text(client.report(key, PAGE, kind=kind))
    (folder / "report.pdf").write_bytes(client.report(key, PDF, kind=kind))
    if kind == "request":
        (folder / "reply.txt").write_bytes(client.report_file(key, "reply"))
        (folder / "audit-bundle.zip").write_bytes(client.report_file(key, "bundle"))
    statement = client.report(key, STATEMENT, kind=kind)
    (folder / "statement.json").write_text(json.dumps(statement, indent=2, sort_keys=True))
    (folder / "jwks.json").write_text(json.dumps(client.jwks()))
    (folder / "verify.py").write_text(client.verifier())
    good = _verify_alone(folder, envelope.read_bytes())
    altered = _verify_alone(folder, _with_one_byte_changed(envelope.read_bytes()))
    verification = folder / "verification.txt"
    verification.write_text(good.stdout + good.stderr)
    return Evidence(page, envelope, verification, good.returncode == 0, altered.returncode != 0)


def _verify_alone(folder: Path, envelope: bytes) -> subprocess.CompletedProcess[str]:
    """Run the verifier from an otherwise empty folder, where nothing of Expunge can be imported."""
    with tempfile.TemporaryDirectory(prefix="expunge-verify-") as name:
        alone = Path(name)
        for file in ("verify.py", "jwks.json"):
            (alone / file).write_bytes((folder / file).read_bytes())
        (alone / "report.dsse.json").write_bytes(envelope)
        command = [sys.executable, "verify.py", "report.dsse.json", "--jwks", "jwks.json"]
        environment = {"PATH": os.environ.get("PATH", ""), "PYTHONSAFEPATH": "1"}
        return subprocess.run(
            command, cwd=alone, env=environment, capture_output=True, text=True, check=False
        )


def _with_one_byte_changed(envelope: bytes) -> bytes:
    document = json.loads(envelope)
    payload = bytearray(base64.b64decode(document["payload"]))
    payload[len(payload) // 2] ^= 1
    document["payload"] = base64.b64encode(bytes(payload)).decode()
    return json.dumps(document).encode()
