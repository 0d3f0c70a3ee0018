"""The checker of the audit log names what was done to a log, wherever and however often."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.chain import GENESIS, Anchor, Checked, check_chain
from service.commitment import digest_of

Entry = dict[str, Any]
Kinds = dict[str, set[int]]
LENGTH = 12
places = st.integers(1, LENGTH)
inner = st.integers(2, LENGTH - 1)


def make_log(length: int = LENGTH, tenant: str = "t") -> list[Entry]:
    """Return a sound log."""
    log: list[Entry] = []
    for seq in range(1, length + 1):
        log.append(link(seq, log[-1]["hash"] if log else GENESIS, n=seq, tenant=tenant))
    return log


def link(seq: int, prev_hash: str, *, n: int, tenant: str = "t") -> Entry:
    """Return one sound entry."""
    entry = {
        "tenant_id": tenant,
        "seq": seq,
        "at": f"2026-11-27T10:00:{seq:02}.000000Z",
        "actor": "key:a",
        "action": "thing.done",
        "resource": f"things/{n}",
        "payload": {"n": n, "share": 0.1},
        "prev_hash": prev_hash,
    }
    return entry | {"hash": digest_of(entry)}


def rehash(entry: Entry) -> Entry:
    """Return the entry with the hash that fits it, as somebody makes it who knows the form."""
    content = {name: value for name, value in entry.items() if name != "hash"}
    return content | {"hash": digest_of(content)}


def renumbered(log: Sequence[Entry]) -> list[Entry]:
    """Number the entries by their places, as they have to be in a table, and leave the hashes."""
    return [entry | {"seq": place} for place, entry in enumerate(log, 1)]


def kinds(checked: Checked) -> Kinds:
    """Return the numbers that were named, by what is wrong with them."""
    found: Kinds = {}
    for finding in checked.findings:
        numbers = range(finding.seq, finding.through + 1)
        found.setdefault(finding.kind, set()).update(numbers)
    return found


def anchor(log: Sequence[Entry], seq: int) -> Anchor:
    return Anchor(seq, log[seq - 1]["hash"], "a checkpoint")


@given(st.integers(0, LENGTH))
def test_a_sound_log_is_whole_and_so_is_every_segment_of_it(start: int) -> None:
    log = make_log()
    assert check_chain(log) == Checked((), 1, LENGTH, LENGTH, None)
    assert check_chain(log[start:], start=None).ok
    assert check_chain(log, [anchor(log, LENGTH)]).vouched == LENGTH


def test_an_empty_log_is_whole_until_a_checkpoint_knows_better() -> None:
    assert check_chain([]).ok
    assert kinds(check_chain([], [anchor(make_log(), 3)])) == {"cut_off": {1, 2, 3}}


FIELDS = ("at", "actor", "action", "resource", "payload", "tenant_id", "prev_hash")


@given(st.dictionaries(places, st.sampled_from(FIELDS), min_size=1))
@example(dict.fromkeys(range(1, LENGTH), "tenant_id"))
def test_every_changed_entry_is_named(changes: dict[int, str]) -> None:
    log = make_log()
    for seq, name in changes.items():
        log[seq - 1][name] = {"other": True} if name == "payload" else "other"
    assert kinds(check_chain(log)) == {"changed": set(changes)}


@given(st.sets(st.integers(1, LENGTH - 1).filter(lambda seq: seq % 2 == 0), min_size=1))
def test_entries_that_were_changed_and_hashed_again_are_named(changed: set[int]) -> None:
    log = make_log()
    for seq in changed:
        log[seq - 1] = rehash(log[seq - 1] | {"actor": "other"})
    assert kinds(check_chain(log)) == {"changed": changed}


@given(st.sets(st.integers(1, LENGTH - 1), min_size=1))
def test_every_removed_entry_is_named(removed: set[int]) -> None:
    log = [entry for entry in make_log() if entry["seq"] not in removed]
    assert kinds(check_chain(log)) == {"removed": removed}


@given(st.integers(1, LENGTH - 1))
def test_an_entry_whose_gap_was_closed_by_new_numbers_is_named(removed: int) -> None:
    log = make_log()
    del log[removed - 1]
    found = kinds(check_chain(renumbered(log)))
    assert found == {"removed": {removed}, "reordered": set(range(removed, LENGTH))}


@given(places, places)
def test_exchanged_entries_are_named(first: int, second: int) -> None:
    log = make_log()
    log[first - 1], log[second - 1] = log[second - 1], log[first - 1]
    wanted = {"reordered": {first, second}} if first != second else {}
    assert kinds(check_chain(renumbered(log))) == wanted  # in a table
    assert kinds(check_chain(log)) == wanted  # in a file


@given(st.permutations(range(1, LENGTH + 1)))
def test_every_entry_that_does_not_stand_where_it_belongs_is_named(order: list[int]) -> None:
    log = make_log()
    shuffled = [log[seq - 1] for seq in order]
    wrong = {seq for place, seq in enumerate(order, 1) if place != seq}
    assert kinds(check_chain(shuffled)) == ({"reordered": wrong} if wrong else {})


@given(inner, st.booleans())
def test_an_inserted_entry_is_named(seq: int, hashed: bool) -> None:
    log = make_log()
    false = link(seq, log[seq - 2]["hash"], n=99)
    false = false if hashed else false | {"hash": "f" * 64}
    log.insert(seq - 1, false)
    moved = set(range(seq + 1, LENGTH + 2))
    assert kinds(check_chain(renumbered(log))) == {"inserted": {seq}, "reordered": moved}


@given(inner)
def test_an_entry_that_stands_twice_or_is_another_tenants_is_named(seq: int) -> None:
    log = make_log()
    assert kinds(check_chain([*log[:seq], log[seq - 1], *log[seq:]]))["inserted"] == {seq}
    foreign = make_log(tenant="other")[seq - 1]
    assert kinds(check_chain([*log[:seq], foreign, *log[seq:]])) == {"inserted": {seq}}


@given(st.integers(1, LENGTH - 1), places)
def test_a_cut_off_end_is_found_against_a_checkpoint_alone(left: int, signed: int) -> None:
    log = make_log()
    checkpoint = anchor(log, signed)
    assert check_chain(log[:left]).ok
    missing = set(range(left + 1, signed + 1))
    found = check_chain(log[:left], [checkpoint])
    assert kinds(found) == ({"cut_off": missing} if missing else {})
    assert found.vouched == (None if missing else signed)


@given(places, places)
def test_a_rewritten_chain_is_found_against_a_checkpoint_alone(start: int, signed: int) -> None:
    log = make_log()
    checkpoints = [anchor(log, seq) for seq in range(1, LENGTH + 1, 3)]
    false = log[: start - 1]
    for seq in range(start, LENGTH + 1):
        false.append(link(seq, false[-1]["hash"] if false else GENESIS, n=99))
    assert check_chain(false).ok
    wrong = {point.seq for point in checkpoints if point.seq >= start}
    assert kinds(check_chain(false, checkpoints)) == ({"rewritten": wrong} if wrong else {})


@given(st.sets(st.integers(1, 6)), st.sets(st.integers(8, 10)), st.integers(11, LENGTH))
def test_damages_of_several_kinds_are_all_named(
    changed: set[int], removed: set[int], left: int
) -> None:
    log = make_log()
    checkpoint = anchor(log, LENGTH)
    for seq in changed:
        log[seq - 1]["actor"] = "other"
    damaged = [entry for entry in log[:left] if entry["seq"] not in removed]
    wanted = {"changed": changed, "removed": removed, "cut_off": set(range(left + 1, LENGTH + 1))}
    wanted = {kind: numbers for kind, numbers in wanted.items() if numbers}
    assert kinds(check_chain(damaged, [checkpoint])) == wanted


@pytest.mark.parametrize(
    "nonsense",
    [None, 3, {}, {"seq": 3}, {**link(3, GENESIS, n=1), "seq": "3"}, {**link(3, "", n=1), "x": 1}],
)
def test_what_is_no_entry_is_named_and_does_not_stop_the_check(nonsense: Any) -> None:  # noqa: ANN401
    log: list[Any] = make_log()
    found = kinds(check_chain([*log[:2], nonsense, *log[2:]]))
    assert found == {"inserted": {3}}


def test_a_number_that_is_no_json_is_a_change_not_a_crash() -> None:
    log = make_log()
    log[4]["payload"] = {"n": float("nan")}
    assert kinds(check_chain(log)) == {"changed": {5}}
