"""The compose check's own judgement: it sees what was lost, and its journal forgets no step."""

import hashlib
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deploy.compose_check import KILLED
from deploy.evidence import GENESIS, WAYS_OUT, Lost, check_chain, has_default_route, require
from deploy.journal import Journal
from deploy.stack import ROOT

Entry = dict[str, Any]
lengths = st.integers(1, 8)


def _chain(length: int) -> list[Entry]:
    """Write a chain as the log's documentation tells, without the service's code."""
    entries: list[Entry] = []
    previous = GENESIS
    for seq in range(1, length + 1):
        content = {
            "seq": seq,
            "action": f"step.{seq}",
            "payload": {"n": seq},
            "prev_hash": previous,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        previous = hashlib.sha256(text.encode()).hexdigest()
        entries.append({**content, "hash": previous})
    return entries


@given(lengths)
def test_a_whole_chain_is_accepted(length: int) -> None:
    assert check_chain(_chain(length)) == f"{length} links"


@given(lengths, st.data())
def test_a_changed_entry_is_seen(length: int, data: st.DataObject) -> None:
    chain = _chain(length)
    chain[data.draw(st.integers(0, length - 1))]["payload"] = {"n": -1}
    with pytest.raises(Lost):
        check_chain(chain)


@given(st.integers(2, 8), st.data())
def test_a_removed_doubled_or_moved_entry_is_seen(length: int, data: st.DataObject) -> None:
    chain = _chain(length)
    at = data.draw(st.integers(0, length - 2))
    for broken in (
        [*chain[:at], *chain[at + 1 :]],
        [*chain[: at + 1], *chain[at:]],
        [*chain[:at], chain[at + 1], chain[at], *chain[at + 2 :]],
    ):
        with pytest.raises(Lost):
            check_chain(broken)


def test_every_long_running_service_is_killed() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(KILLED) == {name for name, s in services.items() if s["restart"] != "no"}


def test_ways_out_are_looked_for_in_every_long_running_service() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    networks = {name: "outside" in s["networks"] for name, s in services.items() if name in KILLED}
    assert networks == WAYS_OUT


def test_a_default_route_is_told_from_a_route_to_a_network() -> None:
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    network = "eth0 000013AC 00000000 0001 0 0 0 0000FFFF 0 0 0\n"
    everywhere = "eth1 00000000 010014AC 0003 0 0 0 00000000 0 0 0\n"
    assert not has_default_route(head + network)
    assert has_default_route(head + network + everywhere)
    assert not has_default_route("")


def test_require_says_what_is_lost() -> None:
    require(1, "nothing")
    with pytest.raises(Lost, match="the request was closed 2 times"):
        require(0, "the request was closed 2 times")


def test_a_journal_with_a_failed_step_or_none_is_not_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = Journal()
    assert not journal.all_kept
    journal.step("build", lambda: "1 GB")
    assert journal.all_kept

    def lose() -> str:
        raise Lost("a report is missing")

    with pytest.raises(Lost):
        journal.step("report", lose)
    assert not journal.all_kept
    journal.explain(Lost("a report is missing"), ["worker-1 | out of memory"])
    journal.show()
    shown = capsys.readouterr().out
    for words in ("build", "1 GB", "LOST", "a report is missing", "out of memory"):
        assert words in shown
