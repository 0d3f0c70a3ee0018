"""Run the verifier and read what it says."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service import verify
from service.signing import Signer

Captured = pytest.CaptureFixture[str]
SALT = bytes(range(32))
IDS = ["digit-0007", "digit-0042", "größe-1"]


def run(folder: Path, *arguments: object) -> tuple[int, str]:
    """Run the copied verifier with nothing of this repository in reach."""
    result = subprocess.run(
        [sys.executable, "-I", "verify.py", "report.dsse.json", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    return result.returncode, result.stdout


def section(output: str, title: str) -> str:
    """Return what the verifier's words say under a title; nothing where it is missing."""
    _, found, rest = output.partition(f"{title}:\n")
    return rest.partition("\n\n")[0] if found else ""


def check(folder: Path, capsys: Captured, *arguments: object) -> tuple[int, str]:
    """Run the same program in this process, which is quicker."""
    code = verify.main([str(folder / "report.dsse.json"), *map(str, arguments)])
    return code, capsys.readouterr().out


def keys_of(signer: Signer) -> list[verify.Key]:
    """Return the signer's keys as the verifier reads them."""
    return verify.keys_of_jwks(signer.jwks())


def key_pem(signer: Signer, path: Path) -> Path:
    """Write the signer's public key as PEM."""
    (key,) = verify.keys_of_jwks(signer.jwks())
    path.write_bytes(key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path
