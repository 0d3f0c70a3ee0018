"""The demo's judge: each broken promise is found, and a kept one isn't called broken."""

import json
from typing import Any

import pytest

from worker.demo.summary import broken_promises

RUNG = {"method": "muda", "verdict": "PASS", "influence": 0.0, "influence_high": 0.2}
REQUEST = {"reasons": ["because"], "untouched_rejected": True, "rungs": [RUNG]}
FAILED = {"verdict": "FAIL", "influence": 1.0, "influence_low": 0.8, "influence_high": 1.2}
GOOD: dict[str, Any] = {
    "controls": {
        "untouched": FAILED,
        "head_masked": FAILED,
        "head_refitted": FAILED,
        "rescaled": FAILED,
        "retrained": [{"verdict": "PASS"}, {"verdict": "FAIL"}, {"verdict": "PASS"}],
    },
    "requests": [
        {**REQUEST, "name": "class", "scope": "class", "verdict": "PASS"},
        {**REQUEST, "name": "mislabelled", "scope": "instance", "verdict": "RETRAINED"},
        {**REQUEST, "name": "random", "scope": "instance", "verdict": "INCONCLUSIVE"},
    ],
}


def test_a_run_that_kept_its_promises_breaks_none() -> None:
    assert broken_promises(GOOD) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("controls", "untouched", "verdict"), "PASS", "untouched"),
        (("controls", "head_masked", "influence_low"), 0.2, "head_masked"),
        (("controls", "head_refitted", "influence_low"), None, "head_refitted"),
        (("controls", "rescaled", "verdict"), "INCONCLUSIVE", "rescaled"),
        (("controls", "retrained", 0, "verdict"), "FAIL", "2 of 3"),
        (("requests", 0, "verdict"), "RETRAINED", "class request"),
        (("requests", 1, "verdict"), "FAIL", "mislabelled"),
        (("requests", 1, "untouched_rejected"), False, "not rejected"),
        (("requests", 1, "rungs", 0, "influence_high"), 0.4, "up to 0.4"),
        (("requests", 2, "reasons"), [], "random"),
    ],
)
def test_each_broken_promise_is_named(path: tuple[Any, ...], value: object, words: str) -> None:
    summary = json.loads(json.dumps(GOOD))
    *parents, last = path
    place: Any = summary
    for key in parents:
        place = place[key]
    place[last] = value
    (complaint,) = broken_promises(summary)
    assert words in complaint
