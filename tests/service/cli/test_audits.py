"""`expunge audit` and `expunge reproduce`: what they ask for, print, and end with."""

import json
import sys
from typing import Any, Self

import pytest

from service.cli import main
from service.cli.output import Exit

REQUEST = "01a207c0-2ab4-73a1-84a9-a2eca40bef4f"
COMPARISON: dict[str, Any] = {
    "reproduced": True,
    "exact": True,
    "tolerance": 0.0,
    "compared": 480,
    "differences": [],
    "not_compared": [{"figure": "tries", "why": "earlier candidates are not audited again"}],
    "references": {"seeds": [1000], "other_weights": []},
}
DIFFERENT = COMPARISON | {
    "reproduced": False,
    "exact": False,
    "tolerance": 0.001,
    "differences": [{"figure": "audit.verdict", "recorded": "PASS", "found": "FAIL", "note": None}],
}


class Service:
    """A service whose only audit ends at the second look at it."""

    def __init__(self, comparison: dict[str, Any] | None, status: str = "completed") -> None:
        self.comparison = comparison
        self.status = status
        self.asked: list[tuple[str, ...]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def _audit(self, status: str) -> dict[str, Any]:
        ended = status != "in_progress"
        return {
            "id": "a",
            "status": status,
            "verdict": "PASS" if status == "completed" else None,
            "reason": "An image is missing." if status == "failed" else None,
            "base_version": 1,
            "num_samples": 2,
            "progress": {"phase": "auditing", "percent": 50},
            "comparison": self.comparison if ended else None,
        }

    def audit_request(self, request_id: str) -> dict[str, Any]:
        self.asked.append(("audit", request_id))
        return self._audit("in_progress")

    def reproduce(self, request_id: str) -> dict[str, Any]:
        self.asked.append(("reproduce", request_id))
        return self._audit("in_progress")

    def get_audit(self, audit_id: str) -> dict[str, Any]:
        self.asked.append(("get", audit_id))
        return self._audit(self.status)


def run(monkeypatch: pytest.MonkeyPatch, service: Service, *arguments: str) -> int:
    """Run a command against a service and return its exit code."""
    monkeypatch.setattr("service.cli.calls.connect", lambda _url, _key: service)
    monkeypatch.setattr("service.cli.calls.POLL_S", 0)
    monkeypatch.setattr(sys, "argv", ["expunge", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_what_came_out_again_ends_with_zero_and_names_what_was_not_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(COMPARISON)
    assert run(monkeypatch, service, "reproduce", REQUEST) == Exit.OK
    assert service.asked == [("reproduce", REQUEST), ("get", "a")]
    shown = capsys.readouterr().out
    assert "Reproduced: 480 figures came out again, exactly." in shown
    assert "tries: earlier candidates are not audited again" in shown


def test_what_differs_ends_with_one_and_shows_both_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, Service(DIFFERENT), "reproduce", REQUEST) == Exit.FAILED
    shown = capsys.readouterr().out
    assert "Not reproduced: 1 of 480 figures differ." in shown
    [line] = [line for line in shown.splitlines() if "audit.verdict" in line]
    assert line.split() == ["audit.verdict", '"PASS"', '"FAIL"']


def test_as_json_the_comparison_is_one_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, Service(DIFFERENT), "reproduce", REQUEST, "--json") == Exit.FAILED
    document = json.loads(capsys.readouterr().out)
    assert document == {"request_id": REQUEST, "audit_id": "a", **DIFFERENT}


@pytest.mark.parametrize("command", [("reproduce",), ("audit", "--references", "--follow")])
def test_an_audit_that_could_not_be_made_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    service = Service(None, "failed")
    assert run(monkeypatch, service, *command, REQUEST) == Exit.NOT_CLOSED
    assert "The audit is failed: An image is missing." in capsys.readouterr().err


def test_an_upgrade_has_to_be_named_for_what_it_costs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(None)
    assert run(monkeypatch, service, "audit", REQUEST) == Exit.USAGE
    assert service.asked == []
    assert "--references" in capsys.readouterr().err
    assert run(monkeypatch, service, "audit", REQUEST, "--references") == Exit.OK
    assert service.asked == [("audit", REQUEST)]
    assert run(monkeypatch, service, "audit", REQUEST, "--references", "--follow") == Exit.OK
    assert "PASS" in capsys.readouterr().out
