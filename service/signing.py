"""Sign reports: Ed25519 in a DSSE envelope, and the public keys as a JWKS.

DSSE 1.0 signs the pre-authentication encoding of the payload's bytes, so nothing needs a canonical
form. A key's id is the SHA-256 of its DER SubjectPublicKeyInfo. Retired keys stay published for
ever, in the JWKS file beside the private key, with the time until which they signed.
"""

import base64
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_PRIVATE_MODE = 0o600
_OTHERS_MASK = 0o077


class SigningKeyError(Exception):
    """Raise when the signing key is missing, unreadable, open to others or of another kind."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding, the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(public_key: Ed25519PublicKey) -> str:
    """Return ``SHA256:<hex>`` of the key's DER SubjectPublicKeyInfo."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"SHA256:{hashlib.sha256(der).hexdigest()}"


class Signer:
    """Sign payloads with one key and publish it with its predecessors.

    Args:
        private_key: The key that signs from now on.
        published: JWKs of this and of retired keys, as kept in the JWKS file.
    """

    def __init__(
        self, private_key: Ed25519PrivateKey, published: list[dict[str, Any]] | None = None
    ) -> None:
        self._private_key = private_key
        self.keyid = key_id(private_key.public_key())
        own = _jwk(private_key.public_key())
        known = {key["kid"]: key for key in published or []}
        self._keys = {self.keyid: own} | known

    def sign(self, payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
        """Return the DSSE envelope of a payload as JSON bytes."""
        signature = self._private_key.sign(pae(payload_type, payload))
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": self.keyid, "sig": base64.b64encode(signature).decode()}],
        }
        return json.dumps(envelope, separators=(",", ":")).encode()

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set: the present key first, then the retired ones."""
        return {"keys": list(self._keys.values())}


def load_signer(path: Path, *, create: bool) -> Signer:
    """Read the signing key, or make one where that is allowed.

    Args:
        path: PEM file, PKCS #8, Ed25519, readable by its owner only.
        create: Make the key when it is missing: the embedded mode only.

    Raises:
        SigningKeyError: The file is missing, readable by others, or no Ed25519 key.
    """
    if create and not path.exists():
        _generate(path)
    try:
        if path.stat().st_mode & _OTHERS_MASK:
            raise SigningKeyError(f"{path} is open to others; run: chmod 600 {path}")
        private_key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise SigningKeyError(
            f"There is no signing key at {path}. Make one with `openssl genpkey -algorithm ed25519 "
            f"-out {path}` and point EXPUNGE_SIGNING_KEY_FILE at it."
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise SigningKeyError(f"{path} is no readable, unencrypted PEM private key.") from error
    if not isinstance(private_key, Ed25519PrivateKey):
        raise SigningKeyError(f"{path} is no Ed25519 key.")
    return Signer(private_key, _read_published(path))


def rotate(path: Path) -> Signer:
    """Retire the present key as of now and sign with a new one from now on.

    The old private key is destroyed; its public half stays in the JWKS with ``exp``.
    """
    retired = load_signer(path, create=False)
    keys = retired.jwks()["keys"]
    present = next(key for key in keys if key["kid"] == retired.keyid)
    present["exp"] = int(time.time())
    path.unlink()
    _generate(path, keys)
    return load_signer(path, create=False)


def published_keys_file(path: Path) -> Path:
    """Return where the JWKS of a signing key file lies: beside it, named ``<stem>.jwks.json``."""
    return path.with_name(f"{path.stem}.jwks.json")


def _generate(path: Path, predecessors: list[dict[str, Any]] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    private_key = Ed25519PrivateKey.generate()
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    try:
        os.link(temporary, path)  # whole or not at all, and never over a key that exists
    except FileExistsError:  # another process of the same start was quicker: its key is the key
        return
    finally:
        temporary.unlink()
    own = _jwk(private_key.public_key()) | {"nbf": int(time.time())}
    document = json.dumps({"keys": [own, *(predecessors or [])]}, indent=2)
    published_keys_file(path).write_text(document, encoding="utf-8")


def _read_published(path: Path) -> list[dict[str, Any]]:
    file = published_keys_file(path)
    if not file.exists():
        return []
    try:
        keys = json.loads(file.read_text(encoding="utf-8"))["keys"]
    except (ValueError, KeyError, TypeError) as error:
        raise SigningKeyError(f"{file} is no JSON Web Key Set.") from error
    if not all(isinstance(key, Mapping) and "kid" in key for key in keys):
        raise SigningKeyError(f"{file} holds a key without kid.")
    return list(keys)


def _jwk(public_key: Ed25519PublicKey) -> dict[str, Any]:
    raw = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    encoded = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    kid = key_id(public_key)
    return {"kty": "OKP", "crv": "Ed25519", "x": encoded, "kid": kid, "use": "sig", "alg": "EdDSA"}
