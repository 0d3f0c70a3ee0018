"""Run draws in parallel processes and keep a line for each, so that a benchmark can go on later."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console

Entry = dict[str, Any]


class Plan(Protocol):
    """What tells one entry from another."""

    def to_json(self) -> Entry:
        """Return it as JSON values."""
        ...


AnyPlan = TypeVar("AnyPlan", bound=Plan)


def complete(
    plans: Sequence[AnyPlan],
    run: Callable[[AnyPlan], Entry],
    log: Path,
    *,
    workers: int,
    identity: Mapping[str, object],
) -> list[Entry]:
    """Run the draws that the log lacks, adding a line for each; return those of `plans`, in order.

    Args:
        plans: What is wanted.
        run: Makes one entry, in a process of its own; must be picklable.
        log: JSON lines; made where it is missing.
        workers: Processes.
        identity: What an entry depends on besides its plan. It is written into each line, and lines
            of another identity are left alone.
    """
    done = {_key(entry["plan"]): entry for entry in _read(log, identity)}
    missing = [plan for plan in plans if _key(plan.to_json()) not in done]
    console = Console(stderr=True)
    # Torch is not safe to fork once its thread pools run.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, plan): plan for plan in missing}
        for number, future in enumerate(as_completed(futures), start=1):
            plan = futures[future].to_json()
            entry = {**identity, "plan": plan, **future.result()}
            with log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            done[_key(plan)] = entry
            console.print(f"draw {number} of {len(missing)}: {entry['seconds']} s", style="dim")
    return [done[_key(plan.to_json())] for plan in plans]


def restore(entries: Iterable[Entry], log: Path, identity: Mapping[str, object]) -> None:
    """Add entries that were kept elsewhere to the log, those that it lacks."""
    done = {_key(entry["plan"]) for entry in _read(log, identity)}
    lines = [
        json.dumps({**identity, **entry}) + "\n"
        for entry in entries
        if _key(entry["plan"]) not in done
    ]
    if lines:
        with log.open("a") as file:
            file.writelines(lines)


def _key(plan: Entry) -> str:
    return json.dumps(plan, sort_keys=True)


def _read(log: Path, identity: Mapping[str, object]) -> list[Entry]:
    if not log.exists():
        return []
    entries = [json.loads(line) for line in log.read_text().splitlines() if line]
    return [entry for entry in entries if {key: entry.get(key) for key in identity} == identity]
