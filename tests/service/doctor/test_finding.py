"""No password of the settings survives in a finding."""

import pytest

from service.config import Settings
from service.doctor.finding import fail, masked, secrets_of


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:1/0", "redis://***@host:1/0"),
        ("redis://user:se@cr/et@host/0", "redis://***@host/0"),
        ("sentinel://:secret@a:1;sentinel://:secret@b:2", "sentinel://***@a:1;sentinel://***@b:2"),
        ("s3://bucket/prefix?secret=abc", "s3://bucket/prefix?…"),
        ("filesystem://", "filesystem://"),
    ],
)
def test_a_url_is_shown_without_its_secret(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://user:pass%40word@host/db", "pass@word"),
        ("postgresql://user:pass%40word@host/db", "pass%40word"),
        ("redis://:one@a;redis://:two22@b", "two22"),
        ("s3://bucket?key=abc&secret=x%2Fyz", "x/yz"),
        ("redis://:p@ss@[::1]:6379/0", "p@ss"),
    ],
)
def test_what_an_error_says_of_a_url_is_masked_too(url: str, secret: str) -> None:
    settings = Settings(broker_url=url)
    finding = fail("x", f"cannot connect with {secret}!", f"change {secret}")
    told = finding.without(secrets_of(settings))
    assert secret not in told.detail + told.action
    assert "***" in told.detail
