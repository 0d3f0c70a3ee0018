"""The secrets of a deployment, one file each in a folder that only its owner can enter.

| file | holds | read by |
|---|---|---|
| `signing.pem` | the Ed25519 key that signs reports | Expunge's user alone |
| `signing.jwks.json` | the public keys, retired ones too | anybody who can enter the folder |
| `pepper` | 32 random bytes | Expunge's user alone |
| `postgres_password` | the password of the database's owner | the same: two users need it |
| `app_password` | the password of the role that API, worker and sweep connect as | the same |
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from service.signing import load_signer, published_keys_file, rotate

SIGNING_KEY, PEPPER = "signing.pem", "pepper"
POSTGRES_PASSWORD, APP_PASSWORD = "postgres_password", "app_password"
PUBLIC_MODE, PRIVATE_MODE, FOLDER_MODE = 0o444, 0o400, 0o700
_PEPPER_BYTES = 32

Owner = tuple[int, int]


def make_secrets(folder: Path, owner: Owner | None = None) -> list[Path]:
    """Make every secret that is missing, change none that is there, and return those made.

    Args:
        folder: Made if missing; closed to everybody but its owner.
        owner: User and group id that the files are given to; None: they stay this user's.

    Raises:
        SigningKeyError: There is a signing key that cannot be used.
        OSError: The folder cannot be written to, or the files cannot be given away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    made = []
    if not (key := folder / SIGNING_KEY).exists():
        load_signer(key, create=True)
        made += [key, published_keys_file(key)]
    for name, make in _MAKERS.items():
        if not (folder / name).exists():
            _write(folder / name, make())
            made.append(folder / name)
    _set_access(folder, owner)
    return made


def rotate_signing_key(folder: Path, owner: Owner | None = None) -> str:
    """Retire the signing key, make another, and return its id; the retired one stays published.

    Raises:
        SigningKeyError: There is no key that could be retired.
    """
    signer = rotate(folder / SIGNING_KEY)
    _set_access(folder, owner)
    return signer.keyid


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _set_access(folder: Path, owner: Owner | None) -> None:
    key = folder / SIGNING_KEY
    modes = {
        key: PRIVATE_MODE,
        folder / PEPPER: PRIVATE_MODE,
        published_keys_file(key): PUBLIC_MODE,
        folder / POSTGRES_PASSWORD: PUBLIC_MODE,
        folder / APP_PASSWORD: PUBLIC_MODE,
    }
    for path, mode in modes.items():
        if path.exists():
            path.chmod(mode)
            if owner is not None:
                os.chown(path, *owner)


_MAKERS: dict[str, Callable[[], bytes]] = {
    PEPPER: lambda: secrets.token_bytes(_PEPPER_BYTES),
    POSTGRES_PASSWORD: lambda: secrets.token_hex(24).encode(),
    APP_PASSWORD: lambda: secrets.token_hex(24).encode(),
}
