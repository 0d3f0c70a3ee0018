"""The verifier works alone, proves what it says and refuses anything that was changed."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from service import commitment, verify
from service.ledger.report_context import ReportContext
from service.reports import publish
from service.signing import Signer, load_signer, rotate
from tests.service.verifier.running import SALT, Captured, check, key_pem, run, section


def test_it_verifies_alone_and_says_what_is_not_proved(folder: Path, tmp_path: Path) -> None:
    ids = ("--ids", tmp_path / "ids.txt", "--salt", SALT.hex())
    weights = ("--weights", tmp_path / "w.safetensors")
    code, output = run(folder, "--jwks", "jwks.json", *weights, *ids)
    assert code == verify.HOLDS, output
    holds = section(output, "Holds")
    assert "bit for bit" in holds
    assert "exactly the 3" in holds
    assert "in use" in holds
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
    assert (code, "weights" in section(output, "DOES NOT HOLD")) == (verify.CHECK_FAILED, True)
    (tmp_path / "ids.txt").write_text("digit-0007\n")
    ids = ("--ids", tmp_path / "ids.txt", "--salt", SALT.hex())
    code, output = check(folder, capsys, *jwks, *ids)
    assert (code, "exactly the 3" in section(output, "DOES NOT HOLD")) == (
        verify.CHECK_FAILED,
        True,
    )


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
    assert (code, "in use" in section(output, "DOES NOT HOLD")) == (verify.CHECK_FAILED, True)


def test_a_signed_text_that_is_no_report_is_refused(signer: Signer) -> None:
    keys = verify.keys_of_jwks(signer.jwks())
    for payload in (b"{}", b'{"_type": "https://in-toto.io/Statement/v1"}'):
        with pytest.raises(verify.VerificationError) as caught:
            verify.verify_envelope(signer.sign(payload), keys)
        assert caught.value.args[0] == verify.CHECK_FAILED


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


def test_a_key_that_nobody_vouched_for_is_told(
    folder: Path, signer: Signer, capsys: Captured
) -> None:
    jwks = ("--jwks", folder / "jwks.json")
    _, output = check(folder, capsys, *jwks)
    assert "--key" in section(output, "Not checked")
    _, output = check(folder, capsys, *jwks, "--key", signer.keyid)
    assert "--key" in section(output, "Holds")


def test_a_pinned_key_is_the_only_one_that_counts(
    folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    stranger = load_signer(tmp_path / "stranger.pem", create=True)
    pem = key_pem(stranger, tmp_path / "stranger-public.pem")
    for pin in (pem, stranger.keyid):
        code, output = check(folder, capsys, "--jwks", folder / "jwks.json", "--key", pin)
        assert code in {verify.UNKNOWN_KEY, verify.UNREADABLE}
        assert "signed this report and" not in output


def test_a_retired_key_still_vouches_for_what_it_signed(
    context: ReportContext, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "signing.pem"
    signer = load_signer(path, create=True)
    now = datetime.now(UTC)
    present = replace(context, subject=replace(context.subject, closed_at=now))
    (tmp_path / "report.dsse.json").write_bytes(publish(present, signer).envelope)
    (tmp_path / "jwks.json").write_text(json.dumps(rotate(path).jwks()))
    code, output = check(tmp_path, capsys, "--jwks", tmp_path / "jwks.json")
    assert (code, "in use" in section(output, "Holds")) == (verify.HOLDS, True)
