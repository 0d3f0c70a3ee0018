"""At which rung a run starts, and why: never lower than its ladder says, sometimes higher.

Starting higher leaves out attempts; it changes no reference, gate or limit, and what is left ends
in the same audit (docs/decisions/0016-start-rung.md). Every rung that is left out is noted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import unpack
from service.database import now
from service.ledger.durations import durations
from service.ledger.orders import RETRAIN, Rung
from service.ledger.rungs import method_of, methods_of, spelled
from service.ledger.samples import erased_for, trained_on, training_set
from service.policies import Policy
from service.tables import DeletionRequest, Model, ModelVersion, Run, RunState, Sample

SAFETY = 2.0
"""A climb fits when this many times its estimate is left until the deadline."""
REJECTIONS = 3
"""So many rejections in a row leave a rung out; as many runs later it is tried once more."""
HISTORY = 50  # closed runs that are looked at
REJECTED = "rejected_before"
NOT_APPROVED = "not_approved"
"""Code of the note on a rung whose candidate a person did not approve: its audit did not reject it.
"""
CODES = frozenset({"no_audit", "chain_too_long", REJECTED, "not_enough_time"})
"""Codes of the notes that are made when a run starts; others are made on its way."""


@dataclass(frozen=True)
class Start:
    """A ladder, the rung to start at, and a note on each rung below it."""

    ladder: list[Rung]
    rung: int
    passed_over: list[dict[str, Any]]


def choose_start(
    session: Session,
    base: ModelVersion,
    group: Sequence[DeletionRequest],
    policy: Policy,
    forget: BitMap,
) -> Start:
    """Return where a run of these requests starts.

    At retrain without an audit, or after the policy's number of approximate runs in a chain.
    Otherwise at the lowest rung that was not rejected time and again for this model, and from
    which the whole climb fits before the first deadline.
    """
    first = group[0]
    ladder: list[Rung] = list(first.ladder)
    chain, allowed = approximate_chain(session, base), policy.document["max_approximate_chain"]
    if first.audit == "none":
        return _at_retrain(ladder, "no_audit", "Without an audit only retraining closes a request.")
    if chain >= allowed:
        words = f"{chain} approximate runs in a row, as many as the policy allows, led to the base."
        return _at_retrain(ladder, "chain_too_long", words)
    rejected = _rejected(session, base, first, forget)
    notes = [note(ladder, rung, REJECTED, words) for rung, words in enumerate(rejected)]
    due = min(request.due_at for request in group)
    rung, words = _in_time(session, base, ladder, len(rejected), _Terms(first, policy, due))
    late = [note(ladder, place, "not_enough_time", words) for place in range(len(notes), rung)]
    return Start(ladder, rung, [*notes, *late])


def note(ladder: Sequence[Rung], rung: int, code: str, detail: str) -> dict[str, Any]:
    """Return a note on a rung that gave no candidate to promote, as reports print it."""
    return {"rung": rung, "method": method_of(ladder[rung]), "code": code, "detail": detail}


def start_in_words(run: Run) -> dict[str, Any]:
    """Return {rung, reason}: where a run started, from 0, and why not lower; null if at 0."""
    notes = [entry for entry in run.passed_over if entry["code"] in CODES]
    if not notes:
        return {"rung": 0, "reason": None}
    place, why = len(notes), " ".join(dict.fromkeys(entry["detail"] for entry in notes))
    name = method_of(run.ladder[place])
    words = f"Started at rung {place + 1} of {len(run.ladder)}, {name}. {why}"
    return {"rung": place, "reason": words}


def approximate_chain(session: Session, version: ModelVersion) -> int:
    """Count the approximate runs between a version and its last training from scratch."""
    length = 0
    step: ModelVersion | None = version
    while step is not None and step.method is not None and step.method["name"] != RETRAIN:
        length += 1
        step = None if step.parent_id is None else session.get(ModelVersion, step.parent_id)
    return length


def _at_retrain(ladder: list[Rung], code: str, detail: str) -> Start:
    if RETRAIN not in methods_of(ladder):
        ladder = [*ladder, RETRAIN]
    rung = methods_of(ladder).index(RETRAIN)
    return Start(ladder, rung, [note(ladder, place, code, detail) for place in range(rung)])


@dataclass(frozen=True)
class _Terms:
    """What decides how long a climb may take and when it has to be over."""

    request: DeletionRequest
    policy: Policy
    due: datetime


def _in_time(
    session: Session, base: ModelVersion, ladder: list[Rung], lowest: int, terms: _Terms
) -> tuple[int, str]:
    """Return the lowest rung whose climb fits, and why those below it do not.

    Where none fits, that is retrain, which surely closes, or `lowest` in a ladder without it. So
    it is where the model's history says nothing yet.
    """
    history, looks = durations(session, base.model_id), terms.policy.document["looks"]
    audited = terms.request.audit == "references"
    left = (terms.due - now(session)).total_seconds()

    def climb(rung: int) -> float | None:
        counts = looks if audited else [0]
        asked = len(looks) if audited else 1
        return history.climb(ladder, rung, counts, asked, pool=terms.request.pool)

    top = len(ladder) - 1
    needed = climb(lowest)
    if needed is None:
        return lowest, ""
    fitting = next((r for r in range(lowest, top) if _fits(climb(r), left)), top)
    if not _fits(climb(fitting), left) and method_of(ladder[top]) != RETRAIN:
        return lowest, ""
    words = (
        f"{_hours(max(left, 0))} were left until the deadline, and a climb from rung {lowest + 1}"
        f" may take {_hours(needed)} by this model's own jobs; {SAFETY:g} times that has to fit."
    )
    return fitting, words


def _fits(needed: float | None, left: float) -> bool:
    return needed is not None and SAFETY * needed <= left


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _rejected(
    session: Session, base: ModelVersion, request: DeletionRequest, forget: BitMap
) -> list[str]:
    """Return for each lowest rung that is left out by its history why; the last rung never is."""
    query = (
        select(Run)
        .where(
            Run.model_id == base.model_id,
            Run.policy_digest == request.policy_digest,
            Run.audit == request.audit,
            Run.state.in_([RunState.COMPLETED, RunState.FAILED]),
        )
        .order_by(Run.created_at.desc(), Run.id.desc())
        .limit(HISTORY)
    )
    runs = list(session.scalars(query))
    if not any(_outcome(run, request.ladder[0]) == "rejected" for run in runs):
        return []  # the labels need not be read
    scopes = _Scopes(session, session.get_one(Model, base.model_id))
    erased = {run.id: unpack(run.erased) for run in runs}
    wanted = scopes.of(forget, scopes.erased_now | forget)
    alike = [run for run in runs if scopes.of(unpack(run.forget), erased[run.id]) == wanted]
    reasons: list[str] = []
    for rung in request.ladder[:-1]:
        if not _is_left_out([_outcome(run, rung) for run in alike]):
            break
        reasons.append(
            f"None of its last {REJECTIONS} candidates for requests of scope {wanted} on this model"
            " passed."
        )
    return reasons


def _is_left_out(outcomes: Sequence[str | None]) -> bool:
    """Say whether a rung is left out, from what became of it in earlier runs, newest first."""
    rejections = skips = 0
    for outcome in outcomes:
        if outcome == "closed":
            break
        rejections += outcome == "rejected"
        skips += outcome == "skipped" and not rejections
    return rejections >= REJECTIONS and skips < REJECTIONS


def _outcome(run: Run, rung: Rung) -> str | None:
    """Say what became of a rung in a run: closed, rejected or undecided, skipped, or None."""
    place = next((i for i, own in enumerate(run.ladder) if spelled(own) == spelled(rung)), None)
    if place is None:
        return None
    codes = {entry["code"] for entry in run.passed_over if entry["rung"] == place}
    if REJECTED in codes:
        return "skipped"
    if NOT_APPROVED in codes or not any(entry["rung"] == place for entry in run.tries):
        return None
    if run.rung > place:
        return "rejected"
    return "closed" if run.state == RunState.COMPLETED else None


class _Scopes:
    """Tells the scope of a forget set by the labels of the data set, as a worker does."""

    def __init__(self, session: Session, model: Model) -> None:
        self.training = training_set(trained_on(session, model))
        self.erased_now = erased_for(session, model)
        self.classes: dict[int, BitMap] = {}
        query = select(Sample.ordinal, Sample.label).where(
            Sample.dataset_id == model.dataset_id, Sample.split == "train"
        )
        for ordinal, label in session.execute(query.execution_options(yield_per=5_000)):
            self.classes.setdefault(label, BitMap()).add(ordinal)

    def of(self, forget: BitMap, erased: BitMap) -> str:
        """Return class, instance or mixed: whether F leaves no sample of its classes in R."""
        retain = self.training - erased
        emptied = [not (members & retain) for members in self.classes.values() if members & forget]
        return "class" if all(emptied) else "mixed" if any(emptied) else "instance"
