"""Policies: shipped with the package, versioned, and named by their digest."""

import pytest

from service.commitment import digest_of
from service.errors import Unprocessable
from service.policies import load_policy


def test_a_policy_is_found_by_name_and_by_version() -> None:
    policy = load_policy("standard")
    assert policy == load_policy("standard/2")
    assert policy.digest == digest_of(policy.document)
    assert policy.document["looks"] == [19, 39]


def test_the_first_look_differs_from_the_standard_in_its_looks_alone() -> None:
    standard, first = load_policy("standard").document, load_policy("first-look").document
    assert first == standard | {"name": "first-look", "looks": [19]}


@pytest.mark.parametrize("name", ["", "strictest", "standard/9", "../standard-2"])
def test_a_policy_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(Unprocessable, match="first-look, standard, strict") as caught:
        load_policy(name)
    assert caught.value.code == "unknown_policy"
