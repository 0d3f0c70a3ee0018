"""Secrets are made once, never overwritten, and rotation keeps old public keys."""

import json
import os
import stat
from pathlib import Path

import pytest

from service.secret_files import make_secrets, rotate_signing_key
from service.signing import SigningKeyError, load_signer

MODES = {
    "signing.pem": 0o400,
    "signing.jwks.json": 0o444,
    "pepper": 0o400,
    "postgres_password": 0o444,
    "app_password": 0o444,
}


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_secret_is_made_and_the_folder_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert sorted(path.name for path in make_secrets(folder)) == sorted(MODES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == MODES
    assert len((folder / "pepper").read_bytes()) == 32
    assert len((folder / "postgres_password").read_bytes()) == 48


def test_two_deployments_share_no_secret(tmp_path: Path) -> None:
    make_secrets(tmp_path / "a")
    make_secrets(tmp_path / "b")
    first, second = _contents(tmp_path / "a"), _contents(tmp_path / "b")
    assert all(first[name] != second[name] for name in MODES)


def test_what_is_there_is_never_changed_and_what_is_missing_is_made(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    before = _contents(tmp_path)
    assert make_secrets(tmp_path) == []
    (tmp_path / "pepper").unlink()
    assert [path.name for path in make_secrets(tmp_path)] == ["pepper"]
    after = _contents(tmp_path)
    assert after.pop("pepper") != before.pop("pepper")
    assert after == before


def test_rotation_signs_with_another_key_and_keeps_the_old_one_published(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    old = load_signer(tmp_path / "signing.pem", create=False).keyid
    new = rotate_signing_key(tmp_path)
    signer = load_signer(tmp_path / "signing.pem", create=False)
    assert signer.keyid == new != old
    published = {key["kid"]: key for key in signer.jwks()["keys"]}
    assert set(published) == {old, new}
    assert "exp" in published[old]
    assert "exp" not in published[new]
    assert json.loads((tmp_path / "signing.jwks.json").read_text()) == signer.jwks()
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == MODES


def test_there_must_be_a_key_to_rotate(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError):
        rotate_signing_key(tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_the_files_are_given_to_the_containers_user_and_the_folder_is_not(tmp_path: Path) -> None:
    make_secrets(tmp_path, (10001, 10001))
    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {10001}
    assert tmp_path.stat().st_uid == os.getuid()
