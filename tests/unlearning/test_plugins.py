"""Plug-ins are found by their entry points, and refused with a reason where they are of no use."""

from pathlib import Path

import pytest

from tests.worker.plugins import BROKEN, install_package, put_on_path
from unlearning.methods import get_method, plugin_names

GOOD = """
from dataclasses import dataclass
from typing import ClassVar
from unlearning.methods import Method

@dataclass(frozen=True, kw_only=True)
class Same(Method):
    name: ClassVar[str] = "same"
    version: ClassVar[str] = "7"
    epochs: int = 3

    def __call__(self, problem):
        return problem.copy_model()

class Loose(Same):
    name = "loose"

@dataclass(frozen=True, kw_only=True)
class Abstract(Method):
    name: ClassVar[str] = "abstract"
    version: ClassVar[str] = "1"

@dataclass(frozen=True, kw_only=True)
class Nameless(Same):
    version: ClassVar[str] = "1"

@dataclass(frozen=True, kw_only=True)
class Timeless(Same):
    name: ClassVar[str] = "timeless"
    version: ClassVar[int] = 1
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    classes = {"loose": "Loose", "abstract": "Abstract", "nameless": "Nameless"}
    classes |= {"timeless": "Timeless", "same": "Same", "muda": "Same", "shared": "Same"}
    entries = {name: f"first_package:{of}" for name, of in classes.items()}
    entries |= {"number": "first_package:GOOD", "absent": "no_such_package:Method"}
    install_package(tmp_path, "first_package", GOOD + "\nGOOD = 3\n", entries)
    install_package(tmp_path, "other_package", BROKEN, {"shared": "other_package:Method"})
    install_package(tmp_path, "broken_package", BROKEN, {"broken": "broken_package:Method"})
    put_on_path(tmp_path, monkeypatch)
    return tmp_path


def test_a_plugin_is_made_like_any_method(packages: Path) -> None:
    assert get_method("same", epochs=5).hyperparameters == {"epochs": 5}
    with pytest.raises(ValueError, match="same: unknown alpha; known are epochs"):
        get_method("same", alpha=1)


def test_names_are_read_without_importing_anything(packages: Path) -> None:
    assert {"same", "broken", "absent"} <= set(plugin_names())


def test_an_unknown_name_lists_plugins_among_the_known(packages: Path) -> None:
    with pytest.raises(ValueError, match="unknown method 'magic'; known are ") as caught:
        get_method("magic")
    known = str(caught.value).partition("known are ")[2].split(", ")
    assert {"muda", "retrain", "same", "broken"} <= set(known)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("muda", "'muda' of first_package 1.0 has the name of a method of Expunge itself"),
        ("shared", "several packages offer a method 'shared': first_package 1.0 and other_p"),
        ("broken", "could not be loaded from broken_package:Method: ImportError: its compiled"),
        ("absent", "could not be loaded from no_such_package:Method: ModuleNotFoundError"),
        ("number", "first_package:GOOD is no subclass of unlearning.methods.Method"),
        ("abstract", "must be a frozen dataclass with a __call__"),
        ("loose", "must be a frozen dataclass with a __call__"),
        ("nameless", "must have the class variable name equal to it"),
        ("timeless", "must have the class variable version, a text"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_refused_with_its_reason(
    packages: Path, name: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        get_method(name)


def test_other_methods_are_not_touched_by_a_bad_plugin(packages: Path) -> None:
    assert get_method("finetune").name == "finetune"
