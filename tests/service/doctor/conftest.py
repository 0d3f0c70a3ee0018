"""An installation in a folder, with one tenant's worth of everything."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.config import Settings
from service.database import Database
from service.doctor import Finding
from service.signing import load_signer

Only = Callable[[Iterator[Finding]], Finding]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EXPUNGE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home that lacks nothing."""
    made = Settings(home=tmp_path / "home")
    database = Database.from_settings(made)
    database.migrate()
    database.close()
    load_signer(made.signing_key_file, create=True)
    made.pepper_file.write_bytes(os.urandom(32))
    made.pepper_file.chmod(0o600)
    (made.home / "data").mkdir()
    return made


@pytest.fixture
def only() -> Only:
    """Return the one finding of a check, which must not find more."""

    def unpack(found: Iterator[Finding]) -> Finding:
        [finding] = found
        return finding

    return unpack
