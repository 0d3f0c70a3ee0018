"""A policy is a frozen value with a digest."""

import copy
from typing import Any

import pytest

from service.policies import load_policy
from unlearning.audit.policy import STANDARD, STRICT, Policy


def test_the_standard_policy_survives_a_round_trip() -> None:
    policy = Policy.standard()
    assert policy.to_dict() == STANDARD
    assert Policy.from_dict(policy.to_dict()) == policy


def test_the_digest_depends_on_values_and_not_on_the_order_of_keys() -> None:
    reversed_keys = dict(reversed(list(STANDARD.items())))
    assert Policy.from_dict(reversed_keys).digest() == Policy.standard().digest()
    assert Policy.from_dict({**STANDARD, "fidelity_margin": 0.03}).digest() != (
        Policy.standard().digest()
    )


def test_the_shipped_policies_are_frozen() -> None:
    """A changed digest is a changed promise: raise the policy's version with it."""
    assert Policy.standard().digest() == (
        "f75dd36e01260cce81b899bb6a4a0dd1136e9f6f2eaba27e9b83c72b01ed11e3"
    )
    assert Policy.strict().digest() == (
        "fe763bf8748b26f45864c50c18e431dab58137328a0e596aec638c61cdf85c99"
    )


def test_the_services_files_are_these_policies() -> None:
    for policy in (Policy.standard(), Policy.strict()):
        shipped = load_policy(policy.name)
        assert shipped.document == policy.to_dict()
        assert (shipped.version, shipped.digest) == (policy.version, policy.digest())
    first = Policy.from_dict(load_policy("first-look").document)
    assert first.to_dict() == {**STANDARD, "name": "first-look", "looks": [19]}


def test_strict_asks_for_all_that_standard_asks_for_and_more() -> None:
    standard, strict = Policy.standard(), Policy.strict()
    for scope in ("class", "instance"):
        assert set(standard.gates.of(scope)) <= set(strict.gates.of(scope))
    assert {"relearn.steps", "attack.rmia"} <= set(strict.gates.class_)
    assert "attack.rmia" in strict.gates.instance
    assert strict.limit == 0.25
    assert strict.drift_limit <= standard.drift_limit


def test_relearning_gates_only_where_every_reference_of_the_first_look_is_relearnt() -> None:
    for rule in ({"references": 18}, {"cap": 0}):
        with pytest.raises(ValueError, match="every reference"):
            Policy.from_dict({**STRICT, "relearning": {**STRICT["relearning"], **rule}})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("looks",), []),
        (("looks",), [39, 19]),
        (("influence", "limit"), 1.5),
        (("influence", "confidence"), 0.2),
        (("utility_margin",), -0.1),
        (("scale_floor",), 0),
        (("drift_limit",), 0.2),
        (("drift_limit",), 1),
        (("gates", "class"), []),
        (("gates", "class"), ["da", "da"]),
        (("relearning", "cap"), -1),
        (("relearning", "uncensored"), 1.1),
        (("surprise",), 1),
        (("gates", "surprise"), []),
    ],
)
def test_a_senseless_policy_is_refused(path: tuple[str, ...], value: object) -> None:
    document: dict[str, Any] = copy.deepcopy(STANDARD)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=r"\w"):
        Policy.from_dict(document)


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="class, instance"):
        Policy.standard().gates.of("mixed")
