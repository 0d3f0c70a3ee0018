"""Check an audit log entry by entry, and name everything in it that is damaged.

Works on entries in the form in which `/v1/audit-log` publishes them, from the database or from a
file. Whoever can write to the database and recompute hashes can rewrite a chain so that it holds
together; that, and a cut-off end, shows only against an anchor: a signed checkpoint that somebody
else kept.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from service.commitment import digest_of

GENESIS = "0" * 64
FIELDS = ("tenant_id", "seq", "at", "actor", "action", "resource", "payload", "prev_hash", "hash")
WINDOW = 64  # how far from its place an entry is looked for whose neighbours don't tell its number

Kind = Literal[
    "changed", "removed", "reordered", "inserted", "cut_off", "rewritten", "false_checkpoint"
]
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Anchor:
    """What a signed checkpoint says: entry `seq` had this `hash`; `name` tells which checkpoint."""

    seq: int
    hash: str
    name: str


@dataclass(frozen=True, order=True)
class Finding:
    """One damage: the entries `seq` to `through`, as they are numbered, and what is wrong."""

    seq: int
    through: int
    kind: Kind
    detail: str


@dataclass(frozen=True)
class Checked:
    """The outcome: all damages in the order of their numbers, and how far the log is vouched for.

    `first` and `last` are the numbers of the first and last entry; `last` < `first`: there is none.
    `vouched`: the highest anchor that agrees; what follows it could be cut off without a trace.
    """

    findings: tuple[Finding, ...]
    first: int
    last: int
    length: int
    vouched: int | None

    @property
    def ok(self) -> bool:
        """Say whether nothing is damaged."""
        return not self.findings


class _Link(NamedTuple):
    """An entry's place in what was read, its number as it stands, and its two hashes."""

    place: int
    seq: int
    prev_hash: str
    hash: str


@dataclass
class _Log:
    """What is known of a log while it is checked.

    `true`: by place, the number under which an entry's hash fits; none for altered ones, whose
    content is kept in `altered`. `holder`: by number, the entry that holds it.
    """

    links: list[_Link] = field(default_factory=list)
    true: dict[int, int] = field(default_factory=dict)
    altered: dict[int, Entry] = field(default_factory=dict)
    holder: dict[int, _Link] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def find(self, seq: int, kind: Kind, detail: str, through: int | None = None) -> None:
        """Write a damage down."""
        self.findings.append(Finding(seq, seq if through is None else through, kind, detail))


def check_chain(
    entries: Iterable[Entry], anchors: Sequence[Anchor] = (), *, start: int | None = 1
) -> Checked:
    """Return all damages of a log.

    Args:
        entries: In the order in which they are kept.
        anchors: From checkpoints whose signatures were verified.
        start: The number of the first entry; None: a segment may begin with any.
    """
    log = _Log()
    _read(log, entries)
    _number(log)
    _choose_holders(log, anchors)
    _judge_altered(log)
    numbers = sorted(log.holder)
    first = start or (numbers[0] if numbers else 1)
    last = numbers[-1] if numbers else first - 1
    _check_links(log, numbers)
    _check_gaps(log, numbers, first)
    _check_order(log)
    vouched = _check_anchors(log, anchors, last)
    return Checked(tuple(sorted(set(log.findings))), first, last, len(log.links), vouched)


def _read(log: _Log, entries: Iterable[Entry]) -> None:
    """Take the entries in; put aside what has no entry's form or is of another tenant's log."""
    tenants: Counter[str] = Counter()
    foreign: defaultdict[str, list[_Link]] = defaultdict(list)
    for place, entry in enumerate(entries):
        if not _has_form(entry):
            number = entry.get("seq") if isinstance(entry, Mapping) else None
            seq = number if type(number) is int else place + 1
            log.find(seq, "inserted", "It has not the form of an entry.")
            continue
        link = _Link(place, entry["seq"], entry["prev_hash"], entry["hash"])
        log.links.append(link)
        if _digest(entry, link.seq) == link.hash:
            log.true[place] = link.seq
            tenants[entry["tenant_id"]] += 1  # an altered entry says nothing about whose log it is
        else:
            log.altered[place] = dict(entry)
        foreign[entry["tenant_id"]].append(link)
    for tenant, _ in tenants.most_common()[1:]:
        for link in (link for link in foreign[tenant] if link.place in log.true):
            log.find(link.seq, "inserted", "It is an entry of another tenant's log.")
            log.links.remove(link)


def _has_form(entry: object) -> bool:
    if not isinstance(entry, Mapping) or set(entry) != set(FIELDS):
        return False
    texts = all(isinstance(entry[name], str) for name in ("tenant_id", "prev_hash", "hash"))
    return texts and type(entry["seq"]) is int


def _digest(entry: Entry, seq: int, prev_hash: str | None = None) -> str:
    content = {name: entry[name] for name in FIELDS if name != "hash"} | {"seq": seq}
    if prev_hash is not None:
        content["prev_hash"] = prev_hash
    try:
        return digest_of(content)
    except ValueError:  # NaN, which no entry has
        return ""


def _number(log: _Log) -> None:
    """Find the number under which an entry was written whose hash doesn't fit where it stands."""
    ahead = {link.hash: log.true[link.place] for link in log.links if link.place in log.true}
    behind = {link.prev_hash: log.true[link.place] for link in log.links if link.place in log.true}
    offset = 0
    for link in log.links:
        if link.place not in log.altered:
            continue
        guesses = [link.seq + offset]
        guesses += [ahead[link.prev_hash] + 1] if link.prev_hash in ahead else []
        guesses += [behind[link.hash] - 1] if link.hash in behind else []
        guesses += [link.seq + step for far in range(1, WINDOW + 1) for step in (-far, far)]
        entry = log.altered[link.place]
        found = next((seq for seq in guesses if _digest(entry, seq) == link.hash), None)
        if found is not None:
            del log.altered[link.place]
            log.true[link.place], offset = found, found - link.seq
            ahead[link.hash], behind[link.prev_hash] = found, found


def _choose_holders(log: _Log, anchors: Sequence[Anchor]) -> None:
    """Give each number to the entry that the next one, or an anchor, names; name the others."""
    claims: defaultdict[int, list[_Link]] = defaultdict(list)
    for link in log.links:
        if link.place in log.true:
            claims[log.true[link.place]].append(link)
    anchored = {(anchor.seq, anchor.hash) for anchor in anchors}
    for seq in sorted(claims, reverse=True):
        after, before = log.holder.get(seq + 1), {link.hash for link in claims.get(seq - 1, ())}
        best = max(
            claims[seq],
            key=lambda link: (
                (seq, link.hash) in anchored,
                after is not None and after.prev_hash == link.hash,
                link.prev_hash in before,
                -link.place,
            ),
        )
        log.holder[seq] = best
        for link in claims[seq]:
            if link is not best:
                twice = link.hash == best.hash
                words = "It repeats" if twice else "It claims the number of another entry,"
                log.find(link.seq, "inserted", f"{words} entry {seq}.")
        if best.seq != seq:
            log.find(best.seq, "reordered", f"It was written as entry {seq}.")


def _judge_altered(log: _Log) -> None:
    """Name the entries whose hash fits under no number: changed, or never written by the ledger."""
    for link in log.links:
        if link.place not in log.altered:
            continue
        if link.seq < 1 or link.seq in log.holder:
            log.find(link.seq, "inserted", "Its hash does not fit, and its number is another's.")
        else:
            log.find(link.seq, "changed", "Its content does not fit its hash.")
            log.holder[link.seq] = link


def _check_links(log: _Log, numbers: Sequence[int]) -> None:
    """Name the entries that those after them don't name: they were changed and hashed again.

    Backwards, for the word of an entry that was changed itself settles nothing.
    """
    rewritten: set[int] = set()
    for seq in reversed(numbers):
        link, after = log.holder[seq], log.holder.get(seq + 1)
        if after is None or not _fits(log, seq) or after.prev_hash == link.hash:
            continue
        if _fits(log, seq + 1) and seq + 1 not in rewritten:
            words = f"Entry {seq + 1} was written after another one; those before may differ too."
            log.find(seq, "changed", words)
            rewritten.add(seq)
        elif _fits(log, seq + 1) or not _names(log, after, link):
            words = f"Entry {seq + 1}, itself changed, names another one: this may be changed too."
            log.find(seq, "changed", words)
    if numbers and numbers[0] == 1 and _fits(log, 1) and log.holder[1].prev_hash != GENESIS:
        log.find(1, "changed", "It names an entry before it; the first one names none.")


def _names(log: _Log, altered: _Link, link: _Link) -> bool:
    """Say whether an altered entry was written after this one: its hash fits with this one's."""
    return _digest(log.altered[altered.place], altered.seq, link.hash) == altered.hash


def _fits(log: _Log, seq: int) -> bool:
    return log.holder[seq].place in log.true


def _check_gaps(log: _Log, numbers: Sequence[int], first: int) -> None:
    expected = first
    for seq in numbers:
        if seq > expected:
            log.find(expected, "removed", "It is missing.", seq - 1)
        expected = seq + 1


def _check_order(log: _Log) -> None:
    """Name the entries that a file has at another place than their number says."""
    ordered = sorted(log.links, key=lambda link: link.seq)
    for stands, belongs in zip(log.links, ordered, strict=True):
        if stands.seq != belongs.seq:
            log.find(stands.seq, "reordered", f"It stands in the place of entry {belongs.seq}.")


def _check_anchors(log: _Log, anchors: Sequence[Anchor], last: int) -> int | None:
    """Compare with the checkpoints; return the highest one that agrees."""
    agreeing = [
        anchor.seq
        for anchor in anchors
        if anchor.seq in log.holder and log.holder[anchor.seq].hash == anchor.hash
    ]
    vouched = max(agreeing, default=None)
    for anchor in anchors:
        if anchor.seq not in log.holder or not _fits(log, anchor.seq):
            continue
        if log.holder[anchor.seq].hash != anchor.hash:
            below = max((seq for seq in agreeing if seq < anchor.seq), default=0)
            words = (
                f"It is not the entry that {anchor.name} was signed over: entries {below + 1} to"
                f" {anchor.seq} may all have been rewritten."
            )
            log.find(anchor.seq, "rewritten", words)
    if anchors and (end := max(anchors, key=lambda anchor: anchor.seq)).seq > last:
        words = f"Missing from the end, though {end.name} was signed over entry {end.seq}."
        log.find(last + 1, "cut_off", words, end.seq)
    return vouched
