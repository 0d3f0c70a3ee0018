"""Signatures follow DSSE; keys are private, and retired ones stay published."""

import base64
import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service import verify
from service.signing import (
    SigningKeyError,
    load_signer,
    pae,
    published_keys_file,
    rotate,
)


def test_the_encoding_is_that_of_the_specification() -> None:
    """The vector of secure-systems-lab/dsse, protocol.md."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    first = load_signer(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_signer(path, create=True).keyid == first.keyid
    assert load_signer(path, create=False).jwks() == first.jwks() or first.jwks()["keys"]
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_a_missing_key_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError, match="openssl genpkey"):
        load_signer(tmp_path / "signing.pem", create=False)


def test_keys_that_will_not_do_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(SigningKeyError, match="unencrypted PEM"):
        load_signer(path, create=False)
    other = generate_private_key(SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SigningKeyError, match="Ed25519"):
        load_signer(path, create=False)
    path.chmod(0o644)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        load_signer(path, create=False)


def test_the_public_key_set_says_who_signs(tmp_path: Path) -> None:
    signer = load_signer(tmp_path / "signing.pem", create=True)
    envelope = json.loads(signer.sign(b"payload", "text/plain"))
    assert base64.b64decode(envelope["payload"]) == b"payload"
    (key,) = verify.keys_of_jwks(signer.jwks())
    assert envelope["signatures"][0]["keyid"] == key.keyid == signer.keyid
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    key.public_key.verify(signature, pae("text/plain", b"payload"))


def test_a_retired_key_stays_published_with_its_end(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    old = load_signer(path, create=True)
    new = rotate(path)
    assert new.keyid != old.keyid
    keys = new.jwks()["keys"]
    assert [key["kid"] for key in keys] == [new.keyid, old.keyid]
    assert keys[1]["nbf"] <= keys[1]["exp"] <= keys[0]["nbf"]
    assert "exp" not in keys[0]


def test_a_damaged_key_set_is_told(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    load_signer(path, create=True)
    published_keys_file(path).write_text("{}")
    with pytest.raises(SigningKeyError, match="JSON Web Key Set"):
        load_signer(path, create=False)
