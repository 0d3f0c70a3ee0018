"""Sealed secrets: readable to the service alone, and only in the row that they were made for."""

import os
from pathlib import Path

import pytest

from service.config import Settings
from service.sealing import PepperError, SealBroken, Sealer, load_sealer

PEPPER = bytes(range(32))


def test_a_sealed_secret_opens_for_its_owner() -> None:
    sealer = Sealer(PEPPER, "webhooks")
    sealed = sealer.seal(b"secret", b"row 1")
    assert b"secret" not in sealed
    assert sealer.open(sealed, b"row 1") == b"secret"
    assert sealer.seal(b"secret", b"row 1") != sealed


@pytest.mark.parametrize(
    ("sealer", "owner"),
    [
        (Sealer(PEPPER, "webhooks"), b"row 2"),
        (Sealer(PEPPER, "other purpose"), b"row 1"),
        (Sealer(os.urandom(32), "webhooks"), b"row 1"),
    ],
)
def test_it_opens_for_nobody_else(sealer: Sealer, owner: bytes) -> None:
    sealed = Sealer(PEPPER, "webhooks").seal(b"secret", b"row 1")
    with pytest.raises(SealBroken):
        sealer.open(sealed, owner)


def test_a_changed_or_cut_secret_does_not_open() -> None:
    sealer = Sealer(PEPPER, "webhooks")
    sealed = sealer.seal(b"secret", b"row 1")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        for broken in (bytes(changed), sealed[:place]):
            with pytest.raises(SealBroken):
                sealer.open(broken, b"row 1")


def test_the_embedded_mode_makes_one_pepper_and_keeps_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    sealed = load_sealer(settings, "webhooks").seal(b"secret", b"")
    assert load_sealer(settings, "webhooks").open(sealed, b"") == b"secret"
    assert settings.pepper_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in settings.pepper_file.parent.iterdir()] == ["pepper"]


def test_production_wants_a_pepper_of_the_operators(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, mode="production")
    with pytest.raises(PepperError, match="cannot be read"):
        load_sealer(settings, "webhooks")
    settings.pepper_file.parent.mkdir()
    settings.pepper_file.write_bytes(bytes(31))
    settings.pepper_file.chmod(0o600)
    with pytest.raises(PepperError, match="31 bytes"):
        load_sealer(settings, "webhooks")
    settings.pepper_file.write_bytes(PEPPER)
    settings.pepper_file.chmod(0o640)
    with pytest.raises(PepperError, match="chmod 600"):
        load_sealer(settings, "webhooks")
