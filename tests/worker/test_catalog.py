"""The service's description of the methods is that of the methods themselves."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ledger import METHODS as NAMED
from service.methods import BadHyperparameter, catalog, checked_hyperparameters
from unlearning.methods import METHODS, Method, get_method
from unlearning.settings import check_ranges, check_types
from worker import catalog as describing

TIED = {("scrub", "epochs"), ("scrub", "max_epochs")}
"""Fields whose range depends on one another."""
PLACES = sorted((name, field.name) for name, method in METHODS.items() for field in fields(method))
FREE = [place for place in PLACES if place not in TIED]


def test_the_file_is_what_the_methods_say() -> None:
    told = "run python -m worker.catalog"
    assert describing.CATALOG.read_text(encoding="utf-8") == describing.text(), told


def test_a_ladder_may_name_every_method_of_the_library() -> None:
    assert set(NAMED) == set(METHODS)


@given(
    place=st.sampled_from(FREE),
    value=st.one_of(
        st.integers(-3, 3),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([0.0, 1.0, 10.0, 100.0, 1000.0, "epoch", "shrunk", "", None, True]),
    ),
)
def test_the_service_takes_exactly_what_the_method_takes(
    place: tuple[str, str],
    value: Any,  # noqa: ANN401 - any JSON value
) -> None:
    name, field = place
    try:
        taken = get_method(name, **{field: value}).hyperparameters
    except ValueError:
        with pytest.raises(BadHyperparameter):
            checked_hyperparameters(name, {field: value})
        return
    checked = checked_hyperparameters(name, {field: value})
    assert get_method(name, **checked).hyperparameters == taken


@pytest.mark.parametrize("chosen", [{"epochs": 1, "max_epochs": 1}, {"epochs": 8, "max_epochs": 8}])
def test_fields_with_a_common_rule_are_taken_beyond_each_others_defaults(
    chosen: dict[str, int],
) -> None:
    assert get_method("scrub", **chosen).hyperparameters.items() >= chosen.items()
    assert checked_hyperparameters("scrub", chosen) == chosen


def test_fields_with_a_common_rule_keep_their_own_bounds() -> None:
    assert catalog()["scrub"]["epochs"] == {"type": "integer", "minimum": 1, "default": 5}
    assert catalog()["scrub"]["max_epochs"] == {"type": "integer", "minimum": 0, "default": 3}


def test_every_default_is_in_the_catalogue() -> None:
    for name in METHODS:
        told = {field: schema["default"] for field, schema in catalog()[name].items()}
        assert told == get_method(name).hyperparameters


@dataclass(frozen=True, kw_only=True)
class _Odd(Method):
    name: ClassVar[str] = "odd"
    version: ClassVar[str] = "1"
    share: float = 0.25
    count: int = 7
    perhaps: float | None = None
    kind: Literal["a", "b"] = "a"
    free: float = -2.5

    def __post_init__(self) -> None:
        check_types(self)
        rules = {
            "share": 0.125 < self.share < 0.75,
            "count": 3 <= self.count <= 12,
            "perhaps": self.perhaps is None or self.perhaps > -1,
        }
        check_ranges(self, rules)

    def __call__(self, problem: Any) -> Any:  # noqa: ANN401 - never called
        raise NotImplementedError


def test_bounds_are_found_exactly_open_or_closed_on_either_side() -> None:
    assert describing.describe({"odd": _Odd}) == {
        "odd": {
            "share": {
                "type": "number",
                "exclusiveMinimum": 0.125,
                "exclusiveMaximum": 0.75,
                "default": 0.25,
            },
            "count": {"type": "integer", "minimum": 3, "maximum": 12, "default": 7},
            "perhaps": {"type": ["number", "null"], "exclusiveMinimum": -1.0, "default": None},
            "kind": {"enum": ["a", "b"], "default": "a"},
            "free": {"type": "number", "default": -2.5},
        }
    }
