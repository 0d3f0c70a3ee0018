"""The doctor compares what is installed with what Expunge asks for, and asks a child for torch."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata

import pytest

from service.config import Settings
from service.doctor import software
from service.doctor.finding import Finding

Only = Callable[[Iterator[Finding]], Finding]
NEEDS = [
    'alpha>=2; extra == "service"',
    'beta[fast]<3; extra == "unlearning"',
    'gamma; extra == "worker"',
    'expunge[service,unlearning]; extra == "worker"',
    'delta; extra == "test"',
]


def _pretend(monkeypatch: pytest.MonkeyPatch, present: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in present:
            raise metadata.PackageNotFoundError(name)
        return present[name]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda _name: NEEDS)


def _packages(settings: Settings) -> dict[str, tuple[str, str]]:
    found = software.check_packages(settings)
    return {finding.name: (finding.status.value, finding.detail) for finding in found}


def test_this_python_is_new_enough_and_an_older_one_is_not(
    settings: Settings, only: Only, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert only(software.check_python(settings)).status == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 10, 12, "final", 0))
    assert only(software.check_python(settings)).status == "fail"


def test_everything_that_is_asked_for_is_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = {"expunge": "1", "alpha": "2.0", "beta": "2.9", "gamma": "0"}
    _pretend(monkeypatch, present)
    assert {status for status, _ in _packages(settings).values()} == {"ok"}


def test_what_is_missing_or_too_old_is_named_with_what_cannot_be_done(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend(monkeypatch, {"expunge": "1", "alpha": "1.9", "beta": "3.0"})
    found = _packages(settings)
    assert found["extra service"] == ("fail", "alpha 1.9 is installed, >=2 is needed")
    assert found["extra unlearning"] == ("warn", "beta 3.0 is installed, <3 is needed")
    assert found["extra worker"] == ("warn", "gamma is missing")


def test_a_bare_folder_is_a_warning(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, {})
    assert {status for status, _ in _packages(settings).values()} == {"warn"}


def test_a_child_names_torch_and_a_device_that_works(settings: Settings, only: Only) -> None:
    found = only(software.check_device(settings.model_copy(update={"device": "cpu"})))
    assert found.status == "ok"
    assert metadata.version("torch") in found.detail


def test_a_device_that_is_not_there_fails(settings: Settings, only: Only) -> None:
    found = only(software.check_device(settings.model_copy(update={"device": "cuda:7"})))
    assert found.status == "fail"
    assert "EXPUNGE_DEVICE" in found.action


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('No module named torch')", "No module named torch"),
        ("import sys; sys.exit(9)", "it ended with 9"),
    ],
)
def test_a_machine_without_torch_is_a_warning(
    settings: Settings, only: Only, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    real = subprocess.run

    def run(_command: list[str], **options: object) -> object:
        return real([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", run)
    found = only(software.check_device(settings))
    assert found.status == "warn"
    assert words in found.detail


def test_a_child_that_hangs_is_ended(
    settings: Settings, only: Only, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "DEVICE_TIMEOUT_S", 0.01)
    found = only(software.check_device(settings))
    assert found.status == "warn"
    assert "did not answer" in found.detail


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"device": "cpu", "name": None, "error": None}, "ok"),
        ({"device": "cuda", "name": "H100", "error": None}, "ok"),
        ({"device": "cuda", "name": "H100", "error": "out of memory"}, "fail"),
    ],
)
def test_the_child_s_answer_is_judged(
    settings: Settings,
    only: Only,
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, object],
    status: str,
) -> None:
    whole = {"torch": "2.10", "memory_bytes": 80 << 30, **answer}
    monkeypatch.setattr(software, "ask_for_device", lambda _asked: (whole, ""))
    found = only(software.check_device(settings))
    assert found.status == status
    assert ("80 GiB" in found.detail) == (answer["name"] is not None)
