"""What the command line does to an open request, and what a dry run prints, through the service."""

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.cli import main
from service.cli.output import Exit
from service.client import ExpungeClient
from service.tables import DeletionRequest
from tests.service.http.conftest import MakeKey
from tests.service.http.test_contract import opened
from tests.service.ledger.world import World

Expunge = Callable[..., dict[str, Any]]
Print = Callable[..., str]


@pytest.fixture
def printed(
    client: TestClient,
    make_key: MakeKey,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Print:
    """Return a function that runs a command, as another key than the client's, and its output."""
    in_process = partial(ExpungeClient, transport=client._transport)
    monkeypatch.setattr("service.cli.connection.ExpungeClient", in_process)
    monkeypatch.setenv("EXPUNGE_API_KEY", make_key())
    monkeypatch.delenv("EXPUNGE_URL", raising=False)

    def run(*arguments: str, code: int = Exit.OK) -> str:
        monkeypatch.setattr(sys, "argv", ["expunge", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert int(ended.value.code or 0) == code, captured
        return captured.out

    return run


@pytest.fixture
def expunge(printed: Print) -> Expunge:
    """Return a function that runs a command and reads the document that it prints."""

    def run(*arguments: str, code: int = Exit.OK) -> dict[str, Any]:
        out = printed(*arguments, "--json", code=code)
        found: dict[str, Any] = json.loads(out[out.index("{\n") :])
        return found

    return run


def test_a_request_is_held_released_extended_and_withdrawn(
    client: TestClient, world: World, expunge: Expunge
) -> None:
    key = opened(client, world, "s0")["id"]
    assert expunge("hold", key, "--reason", "legal_claims")["hold_reason"] == "legal_claims"
    assert expunge("release", key)["status"] == "in_progress"
    assert expunge("extend", key, "--reason", "complexity")["extension_reason"] == "complexity"
    assert expunge("cancel", key)["status"] == "cancelled"
    problem = expunge("hold", key, "--reason", "legal_claims", code=Exit.FAILED)
    assert problem["code"] == "already_closed"


def test_a_candidate_is_rejected_by_its_number(
    client: TestClient, world: World, expunge: Expunge
) -> None:
    key = opened(client, world, "s0", approval=True, ladder=["muda"])["id"]
    world.work("PASS")
    words = ("reject", key, "--reason", "utility_loss", "--version")
    assert expunge(*words, "9", code=Exit.FAILED)["code"] == "other_candidate"
    done = expunge(*words, "2")
    assert (done["status"], done["approval"]["decision"]) == ("failed", "rejected")
    problem = expunge("approve", key, code=Exit.FAILED)
    assert problem["code"] == "not_awaiting_approval"


def test_a_dry_run_prints_a_price_and_opens_nothing(
    client: TestClient, world: World, printed: Print, expunge: Expunge
) -> None:
    words = ("forget", str(world.model_id), "--sample", "s0", "--method", "muda", "--pool")
    assert expunge(*words, "--dry-run", "--follow")["dry_run"]
    shown = printed(*words, "--dry-run")
    assert "Compute: unknown" in shown
    assert "Pool: unknown" in shown
    assert world.all(DeletionRequest) == []
    opened(client, world, "s1", ladder=["muda"], pool=True)
    world.work("PASS")
    shown = printed(*words, "--dry-run")
    assert "1.0 s (1.0 to 1.0, n = 1)" in shown
    assert "CPU hours" in shown
    assert len(world.all(DeletionRequest)) == 1


def test_a_request_can_ask_for_approval(world: World, expunge: Expunge) -> None:
    made = expunge("forget", str(world.model_id), "--sample", "s0", "--approval")
    assert made["approval"] is None  # nothing waits yet
    assert world.all(DeletionRequest)[0].needs_approval
