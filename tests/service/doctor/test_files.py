"""The doctor looks at keys as the service does, and at folders as callers will."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.config import Settings
from service.doctor.files import (
    ROOM_FAIL_BYTES,
    ROOM_WARN_BYTES,
    check_data_roots,
    check_disk,
    check_pepper,
    check_signing_key,
    judge_room,
)
from service.doctor.finding import Finding
from service.signing import load_signer, published_keys_file

Only = Callable[[Iterator[Finding]], Finding]


def _with(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update=changes)


def test_a_key_that_signs_is_named_by_its_id(settings: Settings, only: Only) -> None:
    found = only(check_signing_key(settings))
    assert found.status == "ok"
    assert load_signer(settings.signing_key_file, create=False).keyid in found.detail


@pytest.mark.parametrize(("mode", "status"), [("embedded", "warn"), ("production", "fail")])
def test_a_missing_key_fails_where_nobody_makes_it(
    settings: Settings, only: Only, mode: str, status: str
) -> None:
    settings.signing_key_file.unlink()
    assert only(check_signing_key(_with(settings, mode=mode))).status == status
    assert not settings.signing_key_file.exists()


def test_a_key_that_is_open_to_others_fails(settings: Settings, only: Only) -> None:
    settings.signing_key_file.chmod(0o640)
    found = only(check_signing_key(settings))
    assert found.status == "fail"
    assert "chmod 600" in found.detail


def test_a_key_of_another_kind_or_none_fails(settings: Settings, only: Only) -> None:
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (pem, b"no key"):
        settings.signing_key_file.write_bytes(content)
        assert only(check_signing_key(settings)).status == "fail"


def test_a_key_without_its_published_half_is_a_warning(settings: Settings, only: Only) -> None:
    published_keys_file(settings.signing_key_file).unlink()
    assert only(check_signing_key(settings)).status == "warn"


def test_the_pepper_is_not_shown(settings: Settings, only: Only) -> None:
    found = only(check_pepper(settings))
    assert found.status == "ok"
    assert settings.pepper_file.read_bytes().hex() not in found.detail


@pytest.mark.parametrize(
    ("mode", "size", "status"),
    [(0o600, 32, "ok"), (0o400, 64, "ok"), (0o644, 32, "fail"), (0o600, 31, "fail")],
)
def test_the_pepper_must_be_closed_and_long_enough(
    settings: Settings, only: Only, mode: int, size: int, status: str
) -> None:
    settings.pepper_file.write_bytes(bytes(size))
    settings.pepper_file.chmod(mode)
    assert only(check_pepper(settings)).status == status


def test_a_missing_pepper_is_a_warning_and_says_how_to_make_one(
    settings: Settings, only: Only
) -> None:
    settings.pepper_file.unlink()
    found = only(check_pepper(settings))
    assert found.status == "warn"
    assert "urandom" in found.action


def test_a_pepper_that_is_a_folder_fails(settings: Settings, only: Only) -> None:
    assert only(check_pepper(_with(settings, pepper_file=settings.home))).status == "fail"


def test_every_data_root_is_looked_into(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    roots = [settings.home / "data", tmp_path / "nowhere", file]
    found = list(check_data_roots(_with(settings, data_roots=roots)))
    assert [finding.status for finding in found] == ["ok", "fail", "fail"]
    assert "(empty)" in found[0].detail
    assert str(roots[1]) in found[1].action


def test_the_default_data_root_may_be_missing(settings: Settings, only: Only) -> None:
    (settings.home / "data").rmdir()
    assert only(check_data_roots(settings)).status == "warn"


def test_a_full_disk_fails(settings: Settings) -> None:
    home = settings.home
    assert judge_room(home, ROOM_WARN_BYTES).status == "ok"
    assert judge_room(home, ROOM_WARN_BYTES - 1).status == "warn"
    assert judge_room(home, ROOM_FAIL_BYTES - 1).status == "fail"


def test_the_disks_of_home_and_storage_are_looked_at_before_they_are_made(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "none", storage_url=f"file://{tmp_path}/other")
    details = " ".join(finding.detail for finding in check_disk(settings))
    assert str(tmp_path / "none") in details
    assert str(tmp_path / "other") in details
    plain = settings.model_copy(update={"storage_url": str(tmp_path / "plain")})
    assert f"{tmp_path}/plain" in " ".join(finding.detail for finding in check_disk(plain))
    bucket = settings.model_copy(update={"storage_url": "s3://bucket/prefix"})
    assert len(list(check_disk(bucket))) == 1
