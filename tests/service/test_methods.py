"""The service knows methods and hyper-parameters by their descriptions alone."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.config import Settings
from service.methods import (
    BadHyperparameter,
    catalog,
    checked_hyperparameters,
    clashing_plugins,
    plugin_methods,
)
from tests.worker.plugins import BROKEN, install_package, put_on_path


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("muda", {"gamma": 1}, "gamma is no hyper-parameter of muda; known are alpha, "),
        ("retrain", {"epochs": 1}, "epochs is no hyper-parameter of retrain; known are none"),
        ("muda", {"alpha": -0.5}, "alpha must be a number at least 0 and at most 1000"),
        ("muda", {"alpha": "1"}, "alpha must be a number"),
        ("muda", {"alpha": True}, "alpha must be a number"),
        ("muda", {"alpha": None}, "alpha must be a number"),
        ("muda", {"alpha": float("nan")}, "alpha must be a number"),
        ("muda", {"rho_star": 0}, "rho_star must be a number above 0 and at most 100"),
        ("muda", {"epochs": 0}, "epochs must be a whole number at least 1"),
        ("muda", {"epochs": 2.0}, "epochs must be a whole number at least 1"),
        ("muda", {"epochs": True}, "epochs must be a whole number"),
        ("muda", {"distillation": 1}, "distillation must be a boolean"),
        ("muda", {"alternate": "never"}, 'alternate must be one of "epoch", "batch"'),
    ],
)
def test_hyperparameters_that_a_method_does_not_take_are_refused(
    method: str, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadHyperparameter, match=words):
        checked_hyperparameters(method, given)


def test_equal_settings_have_one_form() -> None:
    default = catalog()["muda"]["beta"]["default"]
    given = {"beta": int(default), "alpha": 5, "alternate": "epoch"}
    assert checked_hyperparameters("muda", given) == {"alpha": 5.0}
    assert type(checked_hyperparameters("muda", given)["alpha"]) is float


def test_a_plugin_s_hyperparameters_are_the_worker_s_business() -> None:
    assert checked_hyperparameters("acme", {"b": "x", "a": -1}) == {"b": "x", "a": -1}


def test_plugins_are_known_by_name_though_they_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"broken": "broken_package:Method", "muda": "broken_package:Method"}
    install_package(tmp_path, "broken_package", BROKEN, entries)
    put_on_path(tmp_path, monkeypatch)
    assert {"broken", "elsewhere"} <= set(plugin_methods(["elsewhere"]))
    assert "muda" not in plugin_methods()
    assert clashing_plugins() == ["muda"]


def test_declared_plugins_are_a_setting_and_must_not_take_our_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXPUNGE_PLUGIN_METHODS", '["acme"]')
    assert Settings().plugin_methods == ["acme"]
    monkeypatch.setenv("EXPUNGE_PLUGIN_METHODS", '["acme", "muda"]')
    with pytest.raises(ValidationError, match="names muda, which Expunge has itself"):
        Settings()
