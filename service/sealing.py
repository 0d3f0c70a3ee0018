"""Secrets that the service must be able to read again are sealed under the pepper.

AES-256-GCM with a key derived from the pepper by HKDF-SHA256, a random nonce each, and the owner's
id as associated data, so that a sealed secret moved to another row does not open.
"""

import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.config import Settings

PEPPER_BYTES = 32
_NONCE_BYTES = 12
_FORM = b"\x01"
_OTHERS_MASK = 0o077


class PepperError(Exception):
    """Raise when the pepper is missing, unreadable, too short or open to others."""


class SealBroken(Exception):
    """Raise when a sealed secret does not open: another pepper, another owner, other bytes."""


class Sealer:
    """Seal and open secrets.

    Args:
        pepper: At least 32 bytes.
        purpose: Keys of different purposes have nothing in common.
    """

    def __init__(self, pepper: bytes, purpose: str) -> None:
        self._cipher = AESGCM(derive_key(pepper, purpose))

    def seal(self, secret: bytes, owner: bytes) -> bytes:
        """Return the secret so that only this owner's row opens it."""
        nonce = os.urandom(_NONCE_BYTES)
        return _FORM + nonce + self._cipher.encrypt(nonce, secret, owner)

    def open(self, sealed: bytes, owner: bytes) -> bytes:
        """Return the secret; raise SealBroken."""
        nonce, text = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] != _FORM:
            raise SealBroken
        try:
            return self._cipher.decrypt(nonce, text, owner)
        except (InvalidTag, ValueError):
            raise SealBroken from None


def derive_key(pepper: bytes, purpose: str) -> bytes:
    """Return 32 bytes that follow from the pepper; those of other purposes tell nothing of them."""
    info = f"expunge {purpose} v1".encode()
    return HKDF(SHA256(), length=32, salt=None, info=info).derive(pepper)


def load_sealer(settings: Settings, purpose: str) -> Sealer:
    """Return the sealer of a purpose; raise PepperError like `load_pepper`."""
    return Sealer(load_pepper(settings), purpose)


def load_pepper(settings: Settings) -> bytes:
    """Return the pepper; the embedded mode makes it when there is none.

    Raises:
        PepperError: It cannot be used, or is missing in production.
    """
    path = settings.pepper_file
    if settings.mode == "embedded" and not path.exists():
        _make_pepper(path)
    try:
        mode, pepper = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise PepperError(f"The pepper {path} cannot be read; see `expunge doctor`.") from error
    if stat.S_IMODE(mode) & _OTHERS_MASK:
        raise PepperError(f"{path} is open to others; run: chmod 600 {path}")
    if len(pepper) < PEPPER_BYTES:
        raise PepperError(f"{path} holds {len(pepper)} bytes, {PEPPER_BYTES} are needed.")
    return pepper


def _make_pepper(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(PEPPER_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # whole or not at all, and never over one that exists
    except FileExistsError:  # another process of the same start was quicker
        return
    finally:
        temporary.unlink()
