"""Compare a signed statement with an audit that was made again, figure by figure.

Both are cut to the same sections first, so that one walk meets every figure of either. What cannot
be compared is named with the reason; nothing is left out in silence.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.ledger.report_context import ReportContext
from service.report_words import untouched_rejected

Json = dict[str, Any]

RELATIVE_TOLERANCE = 1e-3
"""How far figures may lie apart, relative to the larger, on other machines or library versions."""
NEAR_ZERO = 1e-6
"""The same as a plain difference, for figures so near zero that a ratio says nothing."""
_WORDS = frozenset(
    {"alt", "detail", "interval_note", "label", "note", "reason", "reasons", "table", "why"}
)
"""Sentences and rounded tables, which may turn over where a figure moves by next to nothing."""
_NAMES = ("name", "scope", "class")


@dataclass(frozen=True)
class _Absent:
    """Stands for a figure that one side does not have; null is a value that figures can have."""


_ABSENT = _Absent()


def compare(predicate: Mapping[str, Any], found: ReportContext) -> Json:
    """Return what a reproduction reports.

    Args:
        predicate: That of the signed statement.
        found: The context of the audit that was made again, in the form in which its figures would
            be signed.

    Figures must be identical where the environment and all references' digests are; otherwise
    numbers may differ by ``RELATIVE_TOLERANCE`` of the larger, or by ``NEAR_ZERO``, and words and
    tables are not compared. ``reproduced`` is true when no figure differs, which says nothing of
    those in ``not_compared``.
    """
    recorded, again = _of_statement(predicate), _of_context(found)
    references = _references(predicate, found)
    exact = references["other_weights"] == [] and predicate.get("environment") == found.environment
    old, new = dict(_leaves(recorded, "")), dict(_leaves(again, ""))
    outside = _outside(predicate) | _unsearched(old, new)
    differences, skipped, compared = [], [], 0
    for name in (*old, *(name for name in new if name not in old)):
        before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
        why = outside.get(name) or _incomparable(name, before, after, exact=exact)
        if why is not None:
            skipped.append({"figure": name, "why": why})
            continue
        compared += 1
        if not _agree(before, after, exact=exact):
            differences.append(_difference(name, before, after))
    skipped += [{"figure": name, "why": why} for name, why in outside.items() if name not in old]
    return {
        "reproduced": not differences,
        "exact": exact,
        "tolerance": 0.0 if exact else RELATIVE_TOLERANCE,
        "compared": compared,
        "differences": differences,
        "not_compared": skipped,
        "references": references,
    }


def _of_statement(predicate: Mapping[str, Any]) -> Json:
    """Return the sections of a statement that an audit gives again; older ones may lack some."""
    lineage, data = predicate["lineage"], predicate["lineage"]["dataset"]
    names = ("fingerprint_registered", "retain_digest", "train", "holdout", "retain", "erased")
    return {
        "verdict": predicate["verdict"],
        "direction": predicate.get("direction"),
        "reasons": predicate.get("reasons"),
        "influence": predicate.get("influence"),
        "untouched_rejected": predicate.get("untouched_rejected"),
        "audit": predicate.get("audit"),
        "near_duplicates": predicate.get("near_duplicates"),
        "figures": [
            {key: f[key] for key in ("name", "alt", "table")} for f in predicate["figures"]
        ],
        "inputs": {
            **{name: data[name] for name in names},
            "samples": predicate["request"]["samples"]["count"],
            "base": lineage["base"]["sha256"],
            "candidate": lineage["result"]["sha256"],
            "recipe": lineage["recipe_digest"],
            "policy": predicate["policy"]["digest"],
            "references": len(lineage["references"]),
        },
    }


def _of_context(found: ReportContext) -> Json:
    """Return the same sections of an audit that has just been made."""
    audit = found.audit or {}
    return {
        "verdict": found.verdict,
        "direction": audit.get("direction"),
        "reasons": list(audit.get("reasons", ())),
        "influence": audit.get("influence"),
        "untouched_rejected": untouched_rejected(audit or None),
        "audit": {name: value for name, value in audit.items() if name != "curves"},
        "near_duplicates": found.near_duplicates,
        "figures": [{key: f[key] for key in ("name", "alt", "table")} for f in found.figures],
        "inputs": {
            "fingerprint_registered": found.fingerprint_before,
            "retain_digest": found.retain_digest,
            "train": found.num_train,
            "holdout": found.num_holdout,
            "retain": found.num_retain,
            "erased": found.num_erased,
            "samples": found.subject.num_samples,
            "base": found.base.sha256,
            "candidate": found.candidate.sha256,
            "recipe": found.recipe_digest,
            "policy": found.policy_digest,
            "references": len(found.references),
        },
    }


def _outside(predicate: Mapping[str, Any]) -> dict[str, str]:
    """Name what an audit alone cannot give again, with the reason."""
    told: dict[str, str] = {}
    if predicate["verdict"] == "RETRAINED":
        told["verdict"] = "it says how the weights were made; the audit's own verdict is compared"
    if predicate.get("near_duplicates"):
        told["near_duplicates.included"] = "it was counted when the request came in"
    if predicate.get("qualification"):
        told["qualification"] = "its trials are not made again; the verdict rests on it as cited"
    if predicate.get("tries"):
        told["tries"] = "candidates of earlier rungs and looks are not audited again"
    if predicate.get("method"):
        told["method"] = "the erasure is not made again, so neither are its times and ratios"
    told |= {
        f"figures.{figure['name']}.sha256": "a drawing; the table behind it is compared"
        for figure in predicate["figures"]
    }
    return told


def _unsearched(old: Json, new: Json) -> dict[str, str]:
    """Name the counts of copies where a worker looked for them in one of the two audits only."""
    near = "near_duplicates.near"
    if old.get(near) is not None and new.get(near) is not None:
        return {}
    names = [name for name in (*old, *new) if name.split(".")[0] == "near_duplicates"]
    return dict.fromkeys(names, "nobody compared pixels in one of the two audits")


def _references(predicate: Mapping[str, Any], found: ReportContext) -> Json:
    """Return the seeds of references, and of those whose weights are not the recorded ones."""
    recorded = {entry["seed"]: entry["sha256"] for entry in predicate["lineage"]["references"]}
    used = {entry.seed: entry.sha256 for entry in found.references}
    seeds = sorted(recorded.keys() | used.keys())
    other = [seed for seed in seeds if recorded.get(seed) != used.get(seed)]
    return {"seeds": seeds, "other_weights": other}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any JSON value
    """Yield every figure with its path; entries of lists go by their name where they have one."""
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from _leaves(entry, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value:
        names = [_name(entry, number) for number, entry in enumerate(value)]
        for number, (name, entry) in enumerate(zip(names, value, strict=True)):
            # two entries of one name must not hide each other
            own = name if names.index(name) == number else f"{name}#{number}"
            yield from _leaves(entry, f"{path}.{own}")
    else:
        yield path, value


def _name(entry: Any, number: int) -> str:  # noqa: ANN401 - any JSON value
    names = entry if isinstance(entry, Mapping) else {}
    return str(next((names[key] for key in _NAMES if key in names), number))


def _incomparable(name: str, before: object, after: object, *, exact: bool) -> str | None:
    """Say why a figure cannot be compared; None where it can."""
    if exact:
        return None
    if _WORDS.intersection(name.split(".")):
        return "words and tables are compared only on the same machine and library versions"
    if before is _ABSENT:
        return "the statement does not have it: another version of Expunge wrote it"
    if after is _ABSENT:
        return "this version of Expunge does not give it"
    return None


def _agree(before: object, after: object, *, exact: bool) -> bool:
    old, new = _number(before), _number(after)
    if old is None or new is None:
        return type(before) is type(after) and before == after
    if exact:
        return old == new
    return math.isclose(old, new, rel_tol=RELATIVE_TOLERANCE, abs_tol=NEAR_ZERO)


def _number(value: object) -> float | None:
    """Return a number; true and false are none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _difference(name: str, before: object, after: object) -> Json:
    """Return one entry; a side that lacks the figure is null and says so."""
    entry: Json = {
        "figure": name,
        "recorded": None if before is _ABSENT else before,
        "found": None if after is _ABSENT else after,
    }
    if before is _ABSENT:
        entry["note"] = "not in the statement"
    if after is _ABSENT:
        entry["note"] = "not found again"
    return entry
