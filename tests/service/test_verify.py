"""The verifier works alone, proves what it says and refuses anything that was changed."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from service import commitment, verify
from service.ledger.report_context import ReportContext, VersionFacts
from service.reports import publish
from service.signing import Signer, load_signer, rotate
from service.storage import digest_file

Captured = pytest.CaptureFixture[str]
SALT = bytes(range(32))
IDS = ["digit-0007", "digit-0042", "größe-1"]


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


def check(folder: Path, capsys: Captured, *arguments: object) -> tuple[int, str]:
    """Run the same program in this process, which is quicker."""
    code = verify.main([str(folder / "report.dsse.json"), *map(str, arguments)])
    return code, capsys.readouterr().out


def test_it_verifies_alone_and_says_what_is_not_proved(folder: Path, tmp_path: Path) -> None:
    ids = ("--ids", tmp_path / "ids.txt", "--salt", SALT.hex())
    weights = ("--weights", tmp_path / "w.safetensors")
    code, output = run(folder, "--jwks", "jwks.json", *weights, *ids)
    assert code == verify.HOLDS, output
    assert "bit for bit" in output
    assert "exactly those" in output
    assert "What this does not prove" in output


def test_it_refuses_after_one_byte_changed(folder: Path) -> None:
    path = folder / "report.dsse.json"
    envelope = json.loads(path.read_bytes())
    payload = envelope["payload"]
    middle = len(payload) // 2
    other = "A" if payload[middle] != "A" else "B"
    envelope["payload"] = payload[:middle] + other + payload[middle + 1 :]
    path.write_text(json.dumps(envelope))
    code, output = run(folder, "--jwks", "jwks.json")
    assert code == verify.CHANGED
    assert "REFUSED" in output


def test_any_change_of_the_envelope_is_refused(context: ReportContext, signer: Signer) -> None:
    envelope = publish(context, signer).envelope
    keys = verify.keys_of_jwks(signer.jwks())
    original, _ = verify.verify_envelope(envelope, keys)
    for position in range(0, len(envelope), 997):
        changed = bytearray(envelope)
        changed[position] ^= 0x01
        try:
            statement, _ = verify.verify_envelope(bytes(changed), keys)
        except verify.VerificationError:
            continue
        assert statement == original  # a byte outside what is signed


def test_a_key_can_be_given_as_pem_or_pinned(
    folder: Path, signer: Signer, capsys: Captured
) -> None:
    (key,) = verify.keys_of_jwks(signer.jwks())
    pem = folder / "key.pem"
    pem.write_bytes(key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert check(folder, capsys, "--key", pem)[0] == verify.HOLDS
    pinned = ("--jwks", folder / "jwks.json", "--key", signer.keyid)
    assert check(folder, capsys, *pinned)[0] == verify.HOLDS


def test_a_report_of_an_unknown_key_is_refused(
    folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    stranger = load_signer(tmp_path / "stranger.pem", create=True)
    (folder / "jwks.json").write_text(json.dumps(stranger.jwks()))
    assert check(folder, capsys, "--jwks", folder / "jwks.json")[0] == verify.UNKNOWN_KEY


def test_a_key_set_cannot_lend_its_id_to_another_key(folder: Path, tmp_path: Path) -> None:
    stranger = load_signer(tmp_path / "stranger.pem", create=True)
    jwks = stranger.jwks()
    jwks["keys"][0]["kid"] = "SHA256:" + "0" * 64
    (key,) = verify.keys_of_jwks(jwks)
    assert key.keyid == stranger.keyid


def test_other_weights_and_other_ids_are_told(
    folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    jwks = ("--jwks", folder / "jwks.json")
    (tmp_path / "w.safetensors").write_bytes(b"Weights")
    code, output = check(folder, capsys, *jwks, "--weights", tmp_path / "w.safetensors")
    assert (code, "not the model" in output) == (verify.CHECK_FAILED, True)
    (tmp_path / "ids.txt").write_text("digit-0007\n")
    ids = ("--ids", tmp_path / "ids.txt", "--salt", SALT.hex())
    code, output = check(folder, capsys, *jwks, *ids)
    assert (code, "are not the 3" in output) == (verify.CHECK_FAILED, True)


def test_a_report_dated_outside_the_keys_life_is_told(
    context: ReportContext, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "signing.pem"
    signer = load_signer(path, create=True)
    late = replace(context.subject, closed_at=context.subject.closed_at + timedelta(days=3650))
    report = tmp_path / "report.dsse.json"
    report.write_bytes(publish(replace(context, subject=late), signer).envelope)
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps(rotate(path).jwks()))
    code, output = check(tmp_path, capsys, "--jwks", jwks)
    assert (code, "not in use" in output) == (verify.CHECK_FAILED, True)


def test_a_signed_text_that_is_no_report_is_refused(signer: Signer) -> None:
    keys = verify.keys_of_jwks(signer.jwks())
    for payload in (b"{}", b'{"_type": "https://in-toto.io/Statement/v1"}'):
        with pytest.raises(verify.VerificationError) as caught:
            verify.verify_envelope(signer.sign(payload), keys)
        assert caught.value.exit_code == verify.CHECK_FAILED


@pytest.mark.parametrize("arguments", [(), ("--jwks", "none.json"), ("--key", "none.pem")])
def test_what_cannot_be_read_is_told(
    folder: Path, arguments: tuple[str, ...], capsys: Captured
) -> None:
    assert check(folder, capsys, *arguments)[0] == verify.UNREADABLE


def test_its_answer_can_be_read_by_a_program(folder: Path, capsys: Captured) -> None:
    code, output = check(folder, capsys, "--jwks", folder / "jwks.json", "--json")
    assert json.loads(output)["exit_code"] == code == verify.HOLDS


@given(st.lists(st.text(max_size=8), max_size=40, unique=True))
def test_its_commitment_is_the_services(ids: list[str]) -> None:
    assert verify.merkle_root(ids, SALT) == commitment.merkle_root(SALT, ids)
