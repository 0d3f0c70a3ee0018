"""The compose files and the Dockerfile keep their promises, read without an engine."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from service.config import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LONG_RUNNING = ("api", "postgres", "redis", "sweep", "worker")
ONE_SHOT = ("make-secrets", "migrate")
PINNED = re.compile(r"(python|postgres|redis):\d+(\.\d+)*-(slim-bookworm|alpine)")
OWN = re.compile(r"expunge-(service|worker):\$\{EXPUNGE_TAG:-local\}")
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<operator>:?[-?+])?(?P<default>[^}]*)\}")
SECRET_WORDS = re.compile(r"password|secret|pepper|key|token", re.IGNORECASE)
TARGETS = ("service", "worker")
HOST_FOLDERS = {"${EXPUNGE_DATA:-./data}", "${EXPUNGE_SECRETS:-./secrets}"}

every_service = pytest.mark.parametrize("name", SERVICES)
every_long_running_service = pytest.mark.parametrize("name", LONG_RUNNING)


def test_these_are_the_services() -> None:
    assert sorted(SERVICES) == sorted(LONG_RUNNING + ONE_SHOT)


@every_service
def test_images_are_official_and_pinned_or_built_here(name: str) -> None:
    service = SERVICES[name]
    assert (OWN if "build" in service else PINNED).fullmatch(service["image"])


def test_the_dockerfile_starts_from_pinned_official_images() -> None:
    stages: set[str] = set()
    for line in re.findall(r"^FROM .*$", DOCKERFILE, re.MULTILINE):
        _, base, _, stage = line.split()
        assert base in stages or PINNED.fullmatch(base), line
        stages.add(stage)
    assert {"service", "worker"} <= stages


@every_service
def test_no_container_can_write_to_its_root_or_gain_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["mem_limit"]


@every_long_running_service
def test_nobody_is_root(name: str) -> None:
    assert SERVICES[name]["user"] in {"10001:10001", "postgres", "redis"}
    assert "cap_add" not in SERVICES[name]


def test_the_one_root_container_has_no_network_and_only_the_secrets() -> None:
    roots = [name for name, service in SERVICES.items() if service["user"].startswith("0")]
    assert roots == ["make-secrets"]
    service = SERVICES["make-secrets"]
    assert service["network_mode"] == "none"
    assert service["profiles"] == ["setup"]  # it never starts by itself
    assert service["volumes"] == ["${EXPUNGE_SECRETS:-./secrets}:/secrets"]


@pytest.mark.parametrize("target", TARGETS)
def test_both_images_run_as_a_user_that_is_not_root_and_say_how_they_are(target: str) -> None:
    stage = _stage(target)
    assert "\nUSER 10001:10001\n" in stage
    assert "\nHEALTHCHECK " in stage
    assert "\nSTOPSIGNAL SIGTERM\n" in stage


@pytest.mark.parametrize("target", TARGETS)
def test_dependencies_are_installed_below_the_sources(target: str) -> None:
    dependencies = _stage(f"{target}-dependencies")
    assert f"--requirement /source/{target}.txt" in dependencies
    assert {source for source in _copied(dependencies) if not source.endswith(".txt")} == set()
    assert DOCKERFILE.count(f"FROM {target}-dependencies AS {target}\n") == 1


def test_the_lists_of_dependencies_follow_pyproject_alone(tmp_path: Path) -> None:
    """So that a change of the sources installs no dependency again."""
    assert _copied(_stage("requirements")) == ["pyproject.toml"]
    script = _stage("requirements").partition("<<'END'\n")[2].partition("\nEND")[0]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ours = {line for line in extras["worker"] if line.startswith("expunge[")}
    assert ours == {"expunge[service,unlearning]"}
    listed = {name: (tmp_path / f"{name}.txt").read_text().splitlines() for name in TARGETS}
    assert listed["service"] == [*extras["service"], *extras["otel"]]
    assert set(listed["worker"]) == {*extras["unlearning"], *extras["worker"]} - ours


def test_the_service_image_gets_no_code_that_needs_torch() -> None:
    described = {"pyproject.toml", "README.md", "LICENSE"}
    assert set(_copied(_stage("service"))) - described == {"migrations", "service"}


@every_long_running_service
def test_every_long_running_service_has_a_health_check_and_time_to_stop(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert re.fullmatch(r"\d+s", SERVICES[name]["stop_grace_period"])
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["api", "sweep", "worker"])
def test_ours_start_after_the_migration_and_a_healthy_broker(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "redis": {"condition": "service_healthy"},
    }
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_secrets_are_files_without_a_default_and_never_in_the_environment() -> None:
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"${{EXPUNGE_SECRETS:-./secrets}}/{name}"}
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET_WORDS.search(name):
                assert name.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in COMPOSE["secrets"]


def test_every_container_gets_the_secrets_that_it_uses_and_no_other() -> None:
    signing = {"signing.pem", "signing.jwks.json"}
    assert {name: set(s["secrets"]) for name, s in SERVICES.items() if "secrets" in s} == {
        "postgres": {"postgres_password"},
        "migrate": {"postgres_password", "app_password"},
        "api": {"app_password", "pepper"} | signing,
        "sweep": {"app_password", "pepper"} | signing,  # it signs checkpoints and webhooks
        "worker": {"app_password"} | signing,
    }


def test_only_the_migration_connects_as_the_owner_of_the_tables() -> None:
    users = {
        name: make_url(service["environment"]["EXPUNGE_DATABASE_URL"]).username
        for name, service in SERVICES.items()
        if "EXPUNGE_DATABASE_URL" in service.get("environment", {})
    }
    owner = SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    application = dict.fromkeys(("api", "sweep", "worker"), "expunge_app")
    assert users == {"migrate": owner} | application
    assert "expunge_app" in SERVICES["migrate"]["command"]


def test_only_those_who_call_others_have_a_way_out() -> None:
    assert {name for name, s in SERVICES.items() if "outside" in s.get("networks", [])} == {
        "api",  # its port is published
        "sweep",  # webhooks
    }


def test_no_variable_that_sounds_like_a_secret_has_a_default() -> None:
    for file in ("docker-compose.yml", "docker-compose.gpu.yml", "Dockerfile"):
        for found in VARIABLE.finditer((ROOT / file).read_text()):
            name = found["name"]
            assert name == "EXPUNGE_SECRETS" or not SECRET_WORDS.search(name), f"{file}: {name}"


def test_urls_hold_no_password() -> None:
    for service in SERVICES.values():
        for value in service.get("environment", {}).values():
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value))


@every_service
def test_only_data_and_secrets_come_from_the_host(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, target = _source_of(volume)
        assert source in COMPOSE["volumes"] or source in HOST_FOLDERS
        assert target.startswith("/")
        if "DATA" in source:
            assert volume.endswith(":ro")


def test_only_the_api_is_reached_from_outside_and_by_default_only_from_this_machine() -> None:
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert published == {"api": ["${EXPUNGE_PUBLISH:-127.0.0.1:8000}:8000"]}
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "redis", "worker", "migrate"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_redis_loses_nothing_on_purpose() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_workers_can_be_scaled() -> None:
    assert (
        SERVICES["worker"]["scale"] == "${EXPUNGE_WORKERS:-1}"
    )  # `up --scale` is forgotten by the next `up`
    assert "container_name" not in SERVICES["worker"]
    assert "ports" not in SERVICES["worker"]


def test_a_gpu_is_asked_for_in_the_override_alone() -> None:
    assert all("deploy" not in service for service in SERVICES.values())
    assert list(GPU["services"]) == ["worker"]
    devices = GPU["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert [device["capabilities"] for device in devices] == [["gpu"]]


def test_every_setting_in_the_compose_files_exists() -> None:
    known = {f"EXPUNGE_{name.upper()}" for name in Settings.model_fields}
    for service in (*SERVICES.values(), *GPU["services"].values()):
        ours = {name for name in service.get("environment", {}) if name.startswith("EXPUNGE_")}
        assert ours <= known


def test_the_build_context_holds_only_what_the_dockerfile_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert let_in == {path for path in _copied(DOCKERFILE) if not path.endswith(".txt")}


def _stage(name: str) -> str:
    """Return one stage of the Dockerfile, without its FROM line."""
    return DOCKERFILE.partition(f" AS {name}\n")[2].partition("\nFROM ")[0] + "\n"


def _copied(text: str) -> list[str]:
    """Return the sources of all COPY lines."""
    lines = re.findall(r"^COPY (.*)$", text, re.MULTILINE)
    return [word for line in lines for word in line.split()[:-1] if not word.startswith("--")]


def _source_of(volume: str) -> tuple[str, str]:
    """Split `source:target[:ro]`, where the source may be a variable with a colon in it."""
    match = re.fullmatch(r"(\$\{[^}]*\}|[^:]+):([^:]+)(?::ro)?", volume)
    assert match is not None
    return match[1], match[2]
