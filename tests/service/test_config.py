"""Settings: what is left out follows from the home folder; the environment decides."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.config import Settings, get_settings
from service.database import Database
from service.storage import Storage


def test_everything_lies_in_the_home_folder_by_default(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path}/expunge.db"
    assert settings.storage_url == f"file://{tmp_path}/storage"
    assert settings.data_roots == [tmp_path / "data"]
    assert settings.signing_key_file == tmp_path / "keys" / "signing.pem"
    assert settings.pepper_file == tmp_path / "keys" / "pepper"
    assert settings.cache_root == tmp_path / "cache"


def test_a_home_with_a_space_keeps_its_artifacts_inside(tmp_path: Path) -> None:
    home = tmp_path / "my home"
    storage = Storage(Settings(home=home).storage_url)
    storage.put_bytes(b"weights", "text/plain")
    assert any(path.is_file() for path in (home / "storage").rglob("*"))
    assert list(tmp_path.iterdir()) == [home]


def test_the_environment_is_read_anew_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path))
    monkeypatch.setenv("EXPUNGE_DATA_ROOTS", f'["{tmp_path}/a", "{tmp_path}/b"]')
    monkeypatch.setenv("EXPUNGE_LEASE_S", "7")
    assert get_settings().lease_s == 7
    assert get_settings().data_roots == [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setenv("EXPUNGE_LEASE_S", "8")
    assert get_settings().lease_s == 8


@pytest.mark.parametrize("name", ["standrad", "Standard", "standard/1", ""])
def test_a_misspelt_policy_does_not_turn_approval_off_in_silence(name: str) -> None:
    with pytest.raises(ValidationError, match="EXPUNGE_APPROVAL_POLICIES"):
        Settings(approval_policies=["first-look", name])
    kept = ["standard", "standard/2"]
    assert Settings(approval_policies=kept).approval_policies == kept


@pytest.mark.parametrize(
    ("name", "value"), [("lease_s", 0), ("max_failures", 0), ("mode", "debug"), ("port", 70000)]
)
def test_a_setting_out_of_its_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "collector:4318",
        "grpc://collector:4317",
        "http://collector:4318/",
        "http://collector:4318/?token=secret",
        "http://collector:4318/#here",
        "http://user:secret@collector:4318",
        "http://:4318",
        "http://collector :4318",
    ],
)
def test_a_collector_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"(?i)otlp_endpoint") as refused:
        Settings(otlp_endpoint=url)
    assert "secret" not in str(refused.value)
    assert Settings(otlp_endpoint="https://collector/otlp").otlp_endpoint


def test_a_collector_without_opentelemetry_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry.")]:
        monkeypatch.delitem(sys.modules, name)
    for missing in (
        "opentelemetry.exporter.otlp.proto",
        "opentelemetry.sdk",
    ):  # the API is FastAPI's
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(ValidationError, match=r"pip install 'expunge\[otel\]'"):
            Settings(otlp_endpoint="http://collector:4318")
    assert not Settings().otlp_endpoint  # and nobody misses it who names none


def test_the_database_password_comes_from_a_file_and_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss/w:rd\n")
    url = "postgresql+psycopg://expunge@db:5432/expunge"
    settings = Settings(database_url=url, database_password_file=file)
    database = Database(settings.database_url)
    assert database.url.password == "p@ss/w:rd"
    assert (database.url.host, database.url.username) == ("db", "expunge")
    database.close()


@pytest.mark.parametrize(
    ("url", "content", "words"),
    [
        ("postgresql+psycopg://expunge:other@db/expunge", "secret", "without a password"),
        ("postgresql+psycopg://db/expunge", "secret", "with a user"),
        ("", "secret", "with a user"),
        ("postgresql+psycopg://expunge@db/expunge", " \n", "holds no database password"),
        ("postgresql+psycopg://expunge@db/expunge", None, "cannot be read"),
    ],
)
def test_a_password_file_that_will_not_do_is_refused_without_showing_it(
    tmp_path: Path, url: str, content: str | None, words: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValidationError, match=words) as refused:
        Settings(home=tmp_path, database_url=url, database_password_file=file)
    assert "secret" not in str(refused.value)
