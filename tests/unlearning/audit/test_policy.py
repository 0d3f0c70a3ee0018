"""A policy is a frozen value with a digest."""

import copy
from typing import Any

import pytest

from unlearning.audit.policy import STANDARD, Policy


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


def test_the_standard_policy_is_frozen() -> None:
    """A changed digest is a changed promise: raise the policy's version with it."""
    digest = Policy.standard().digest()
    assert digest == "9f80d7bbdc35115ba94b1ea9b7f1b9925d6d6e224b49b9de1fcd740b4cb6dbe4"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("looks",), []),
        (("looks",), [39, 19]),
        (("influence", "limit"), 1.5),
        (("influence", "confidence"), 0.2),
        (("utility_margin",), -0.1),
        (("scale_floor",), 0),
        (("gates", "class"), []),
        (("gates", "class"), ["da", "da"]),
        (("relearning", "cap"), -1),
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
