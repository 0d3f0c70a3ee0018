"""What a deletion request would cost, from this model's own history; nothing is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, Literal

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from service.bitmaps import digest
from service.database import among, now
from service.ledger.orders import POOLED, RETRAIN, Caller, RequestOrder
from service.ledger.planning import active_run
from service.ledger.reading import find_current
from service.ledger.references import FIRST_SEED, ready_seeds
from service.ledger.requests import check_request, new_request
from service.ledger.rungs import method_of
from service.ledger.starting import choose_start
from service.ledger.terms import refuse_emptying
from service.policies import load_policy
from service.tables import (
    Dataset,
    DeletionRequest,
    Job,
    JobKind,
    JobStatus,
    Model,
    Reference,
    Sample,
)

_TOLD = (Job.run_id, Job.parameters, Job.result, Job.started_at, Job.finished_at)
Scope = Literal["class", "instance", "mixed"]


@dataclass(frozen=True)
class Spread:
    """Seconds that `n` jobs of one kind took on this model."""

    n: int
    least: float
    median: float
    most: float


@dataclass(frozen=True)
class RungPrice:
    """One method of the ladder; null where this model has no history of it."""

    method: str
    unlearning: Spread | None
    audit: Spread | None


@dataclass(frozen=True)
class Hours:
    """Compute hours from the cheapest case, the first rung and look, to the dearest."""

    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run would do: its rungs, references and pool, and the hours that these take."""

    rungs: list[RungPrice]
    references_first_look: int
    references_last_look: int
    references_ready: int
    reference: Spread | None
    pool_needed: bool
    pool: Spread | None
    hours: Hours | None


@dataclass(frozen=True, kw_only=True)
class Price(Work):
    """A request as it would be accepted now, and what it would take."""

    num_samples: int
    copies_included: int
    copies_left: int
    copies_in_holdout: int
    scope: Scope
    classes_emptied: list[str]
    num_retain: int
    device: str | None
    waits_for_run: bool
    due_at: datetime
    due_rule: str
    priced_at: datetime


def price_request(session: Session, caller: Caller, order: RequestOrder) -> Price:
    """Check a request as `open_request` does, and price it instead of accepting it.

    References are counted for the retain set that a run of this request alone would have.

    Raises:
        ServiceError: what `open_request` raises.
    """
    checked = check_request(session, caller, order)
    model, forget = checked.model, checked.ordinals
    request = new_request(session, caller, checked)
    retain = refuse_emptying(session, model, forget, checked.standing.erased)
    scope, emptied = _scope(session, model, forget, retain)
    work = _work(session, model, request, (forget, retain), single_samples=scope != "class")
    moment = now(session)
    return Price(
        **vars(work),
        num_samples=len(forget),
        copies_included=len(checked.included),
        copies_left=len(checked.left),
        copies_in_holdout=len(checked.in_holdout),
        scope=scope,
        classes_emptied=emptied,
        num_retain=len(retain),
        device=_device(session, model),
        waits_for_run=active_run(session, model.id),
        due_at=request.due_at,
        due_rule=request.due_rule,
        priced_at=moment,
    )


def _work(
    session: Session,
    model: Model,
    request: DeletionRequest,
    sets: tuple[BitMap, BitMap],
    *,
    single_samples: bool,
) -> Work:
    (forget, retain), base = sets, find_current(session, model.id)
    policy = load_policy(f"{request.policy_name}/{request.policy_version}")
    ladder, rung = list(request.ladder), 0
    if base is not None:
        start = choose_start(session, base, [request], policy, forget)
        ladder, rung = start.ladder, start.rung
    looks = policy.document["looks"] if request.audit == "references" else [0]
    rungs = [_rung(session, model, method_of(entry)) for entry in ladder[rung:]]
    reference = _reference(session, model)
    seeds = ready_seeds(session, model, digest(retain))
    first, last = (sum(seed < FIRST_SEED + looks[i] for seed in seeds) for i in (0, -1))
    uses_pool = [request.pool and single_samples and rung.method in POOLED for rung in rungs]
    pool = _spread(map(_seconds, _done(session, model, JobKind.POOL)))
    others = [
        (reference, looks[0] - first, looks[-1] - last),
        (pool, int(uses_pool[0]), int(any(uses_pool))),
    ]
    return Work(
        rungs=rungs,
        references_first_look=looks[0],
        references_last_look=looks[-1],
        references_ready=last,
        reference=reference,
        pool_needed=any(uses_pool),
        pool=pool,
        hours=_hours(_parts(rungs, len(looks), others)),
    )


def _scope(
    session: Session, model: Model, forget: BitMap, retain: BitMap
) -> tuple[Scope, list[str]]:
    """Return the scope and the names of the classes of which nothing would be left to train on."""
    own = Sample.dataset_id == model.dataset_id
    query = select(Sample.label).where(own, among(session, Sample.ordinal, forget))
    labels = set(session.scalars(query.distinct()))
    rows = select(Sample.ordinal, Sample.label).where(own, among(session, Sample.label, labels))
    left = {label for ordinal, label in session.execute(rows) if ordinal in retain}
    emptied = sorted(labels - left)
    names = session.get_one(Dataset, model.dataset_id).class_names
    scope: Scope = "instance" if not emptied else "mixed" if left else "class"
    return scope, [names[label] for label in emptied]


def _rung(session: Session, model: Model, method: str) -> RungPrice:
    """Look at the completed jobs of the runs' rungs with this method."""
    unlearned = [
        job
        for job in _done(session, model, JobKind.UNLEARN)
        if job.parameters.get("method") == method
    ]
    rungs = {(job.run_id, job.parameters.get("rung")) for job in unlearned}
    audited = [
        job
        for job in _done(session, model, JobKind.AUDIT)
        if (job.run_id, job.parameters.get("rung")) in rungs
    ]
    return RungPrice(method, _spread(map(_seconds, unlearned)), _spread(map(_seconds, audited)))


def _reference(session: Session, model: Model) -> Spread | None:
    query = select(Reference.seconds).where(
        Reference.model_id == model.id,
        Reference.recipe_digest == model.recipe_digest,
        Reference.seconds.is_not(None),
    )
    return _spread(seconds for seconds in session.scalars(query) if seconds is not None)


def _device(session: Session, model: Model) -> str | None:
    """Return what the newest completed job of the model ran on."""
    jobs = _done(session, model, JobKind.UNLEARN, JobKind.REFERENCE, JobKind.AUDIT)
    environments = [(job.result or {}).get("environment") or {} for job in reversed(jobs)]
    return next((str(found["device"]) for found in environments if "device" in found), None)


def _done(session: Session, model: Model, *kinds: JobKind) -> list[Job]:
    query = (
        select(Job)
        .where(
            Job.model_id == model.id,
            Job.kind.in_(kinds),
            Job.status == JobStatus.COMPLETED,
        )
        .order_by(Job.id)
        .options(load_only(*_TOLD))
    )
    return list(session.scalars(query))


def _seconds(job: Job) -> float:
    """Return a job's own time; where its child told none, that between claim and completion."""
    told: Any = (job.result or {}).get("seconds")
    if told is not None:
        return float(told)
    if job.started_at is None or job.finished_at is None:
        return 0.0
    return (job.finished_at - job.started_at).total_seconds()


def _spread(values: Iterable[float]) -> Spread | None:
    found = sorted(values)
    return Spread(len(found), found[0], median(found), found[-1]) if found else None


def _hours(parts: Iterable[tuple[Spread | None, int, int]]) -> Hours | None:
    """Add up parts, each with how often it comes at least and at most; None without a history."""
    least = most = 0.0
    for spread, fewest, times in parts:
        if spread is None and times:
            return None
        if spread is not None:
            least += fewest * spread.least
            most += times * spread.most
    return Hours(least / 3600, most / 3600)


def _parts(
    rungs: Sequence[RungPrice], num_looks: int, others: Iterable[tuple[Spread | None, int, int]]
) -> Iterable[tuple[Spread | None, int, int]]:
    """Yield what a run may take: each rung after the first may be spared, each look too."""
    for number, rung in enumerate(rungs):
        first = int(number == 0)
        yield rung.unlearning, first, 1
        yield rung.audit, first, 1 if rung.method == RETRAIN else num_looks
    yield from others
