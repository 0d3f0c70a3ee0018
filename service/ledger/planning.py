"""Runs: waiting requests become one, its rungs and looks become jobs, and it ends once."""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pyroaring import BitMap
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from service.bitmaps import digest, pack, unpack
from service.database import limits, now
from service.errors import NotFound
from service.ledger.graph import add_job, cancel_jobs, jobs_of, needed_elsewhere, queue_ready
from service.ledger.log import take_turn
from service.ledger.orders import RETRAIN, Rung
from service.ledger.pools import ensure_pool
from service.ledger.qualified import unqualified_methods
from service.ledger.reading import find_current
from service.ledger.references import ensure_references
from service.ledger.rungs import hyperparameters_of, method_of, methods_of, spelled
from service.ledger.samples import erased_for, samples_of, trained_on, training_set
from service.ledger.starting import choose_start, note
from service.ledger.states import move, record
from service.policies import load_policy
from service.tables import (
    Approval,
    Audit,
    DeletionRequest,
    Job,
    JobKind,
    Model,
    ModelStatus,
    ModelVersion,
    RequestStatus,
    Run,
    RunState,
    VersionState,
    new_id,
)

_ACTIVE_RUN = select(Run.id).where(
    Run.model_id == bindparam("model_id"), Run.state == RunState.ACTIVE
)
FIRST_METHOD_SEED = 10_000  # beyond every seed of a reference


def plan_run(session: Session, model_id: uuid.UUID) -> Run | None:
    """Make one run of the waiting requests that can share it, if none is active.

    They share the policy, the ladder, the audit level, the need of approval and the wish for a pool
    of the one that comes first; where they need approval, their caller too, so that anybody else
    can decide. What needs no approval and is due soon comes first, then what waits longest. E is
    frozen now: whatever comes into it later is the next run's.

    Raises:
        NotFound: no such model.
    """
    model = session.get(Model, model_id)
    if model is None:
        raise NotFound("model")
    take_turn(session, model.tenant_id)
    if active_run(session, model_id):
        return None
    session.refresh(model)
    base = find_current(session, model_id)
    if model.status != ModelStatus.READY or base is None:
        return None
    group = _next_group(session, model_id)
    if not group:
        return None
    run = _add_run(session, model, base, group)
    for request in group:
        move(session, request, RequestStatus.IN_PROGRESS, run=str(run.id))
        request.run_id, request.base_version_id = run.id, base.id
    start_rung(session, run)
    return run


def start_rung(session: Session, run: Run) -> None:
    """Add the jobs of the present rung: a pool, unlearn, audit the candidate at the run's level."""
    if run.audit == "qualified":
        _skip_unqualified(session, run)
    rung, seed = run.ladder[run.rung], method_seed(session, run)
    parameters = {
        "method": method_of(rung),
        "hyperparameters": hyperparameters_of(rung),
        "rung": run.rung,
        "seed": seed,
    }
    pool = ensure_pool(session, run, retain_set(session, run), seed) if run.pool else []
    unlearn = add_job(session, run, JobKind.UNLEARN, parameters, pool)
    queue_ready(session, [unlearn])
    start_look(session, run, unlearn)


def start_look(session: Session, owner: Run | Audit, *needs: Job) -> None:
    """Add the audit job of the present look with the references that it needs, if any."""
    model = session.get_one(Model, owner.model_id)
    count = reference_count(owner)
    references = (
        ensure_references(session, owner, model, retain_set(session, owner), count) if count else []
    )
    parameters: dict[str, object] = {"look": owner.look, "references": count}
    if isinstance(owner, Run):
        parameters["rung"] = owner.rung
    audit = add_job(session, owner, JobKind.AUDIT, parameters, [*needs, *references])
    queue_ready(session, [audit])


def audit_level(owner: Run | Audit) -> str:
    """Return the level that was asked for; an audit has references unless it reproduces others."""
    return owner.audit if isinstance(owner, Run) else owner.level


def reference_count(owner: Run | Audit) -> int:
    """Return how many references the present look needs; none at the other levels."""
    looks: list[int] = owner.policy["looks"]
    return looks[owner.look - 1] if audit_level(owner) == "references" else 0


def retain_set(session: Session, owner: Run | Audit) -> BitMap:
    """Return R: D ∖ E as frozen for a run, D ∖ (E ∪ F) for an audit, which erases nothing.

    For an audit of a closed request that is its run's R, for the run's E holds the forget set.
    """
    model = session.get_one(Model, owner.model_id)
    training = training_set(trained_on(session, model))
    return training - unpack(owner.erased) - unpack(owner.forget)


def method_seed(session: Session, run: Run) -> int:
    """Derive a rung's seed from what it works on, outside the range of the references' seeds.

    The same base weights, R, forget set, method and hyper-parameters give the same seed: a run can
    be repeated, and asking again for the same erasure is no second throw of the dice.
    """
    base = session.get_one(ModelVersion, run.base_version_id)
    parts = (base.weights_sha256, run.retain_digest, digest(unpack(run.forget)))
    hashed = hashlib.sha256(" ".join((*parts, spelled(run.ladder[run.rung]))).encode()).digest()
    return FIRST_METHOD_SEED + int.from_bytes(hashed[:4], "big") % (2**31 - FIRST_METHOD_SEED)


def requests_of(session: Session, run: Run) -> list[DeletionRequest]:
    """Return the requests that a run still serves, oldest first."""
    query = (
        select(DeletionRequest)
        .where(
            DeletionRequest.run_id == run.id,
            DeletionRequest.status == RequestStatus.IN_PROGRESS,
        )
        .order_by(DeletionRequest.received_at, DeletionRequest.id)
    )
    return list(session.scalars(query.execution_options(populate_existing=True)))


def restart_without_lost(session: Session, run: Run) -> None:
    """Begin the present rung anew for the requests that are left; R and its references stay."""
    left = requests_of(session, run)
    reject_candidate(session, run)
    cancel_jobs(session, jobs_of(session, run, JobKind.POOL, JobKind.UNLEARN, JobKind.AUDIT))
    run.forget = pack(_union(samples_of(session, [request.id for request in left]).values()))
    run.look = 1
    record(session, run, "restarted", requests=len(left), rung=run.rung)
    start_rung(session, run)


def finish_run(session: Session, run: Run, state: RunState, reason: str | None = None) -> None:
    """End a run: no job of its own goes on that nobody else needs, no candidate is left over."""
    move(session, run, state, reason=reason)
    run.reason, run.closed_at = reason, now(session)
    reject_candidate(session, run)
    jobs = [job for job in jobs_of(session, run) if not needed_elsewhere(session, job, run)]
    cancel_jobs(session, jobs)
    session.flush()


def reject_candidate(session: Session, run: Run) -> None:
    """Put the run's candidate aside, if it has one that was not promoted."""
    if run.candidate_version_id is None:
        return
    candidate = session.get_one(ModelVersion, run.candidate_version_id)
    if candidate.state == VersionState.CANDIDATE:
        move(session, candidate, VersionState.REJECTED, number=candidate.number)
        run.candidate_version_id = None
        if approval := waiting_approval(session, run):
            approval.decision, approval.decided_at = "withdrawn", now(session)


def waiting_approval(session: Session, run: Run) -> Approval | None:
    """Return the question whether the run's candidate may be promoted, while it is open."""
    query = select(Approval).where(Approval.run_id == run.id, Approval.decision.is_(None))
    return session.scalar(query.execution_options(populate_existing=True))


def _add_run(
    session: Session, model: Model, base: ModelVersion, group: Sequence[DeletionRequest]
) -> Run:
    first = group[0]
    policy = load_policy(f"{first.policy_name}/{first.policy_version}")
    erased = erased_for(session, model)
    training = training_set(trained_on(session, model))
    forget = _union(samples_of(session, [request.id for request in group]).values())
    start = choose_start(session, base, group, policy, forget)
    run = Run(
        id=new_id(),
        tenant_id=model.tenant_id,
        model_id=model.id,
        base_version_id=base.id,
        policy=policy.document,
        policy_digest=policy.digest,
        ladder=start.ladder,
        rung=start.rung,
        passed_over=start.passed_over,
        look=1,
        audit=first.audit,
        pool=first.pool,
        erased=pack(erased),
        forget=pack(forget),
        retain_digest=digest(training - erased),
        state=RunState.ACTIVE,
        tries=[],
        created_at=now(session),
    )
    session.add(run)
    session.flush()
    record(session, run, "planned", requests=len(group), base=base.number, rung=start.rung)
    for entry in start.passed_over:
        record(session, run, "skipped", rung=entry["rung"], code=entry["code"])
    return run


def pass_over(session: Session, run: Run, code: str, detail: str) -> None:
    """Note why the present rung gives no candidate to promote; the caller goes on to the next."""
    run.passed_over = [*run.passed_over, note(run.ladder, run.rung, code, detail)]
    record(session, run, "skipped", rung=run.rung, code=code)


def _skip_unqualified(session: Session, run: Run) -> None:
    """Pass over rungs whose method no live qualification is about; the last resort is retrain."""
    if RETRAIN not in methods_of(run.ladder):
        left = run.ladder[run.rung :]
        missing = unqualified_methods(session, run.model_id, left, run.policy_digest)
        if missing == methods_of(left):
            run.ladder = [*run.ladder, RETRAIN]
    while unqualified_methods(session, run.model_id, [run.ladder[run.rung]], run.policy_digest):
        words = "No qualification of the method is live any more."
        pass_over(session, run, "qualification_missing", words)
        run.rung += 1
    session.flush()


def _next_group(session: Session, model_id: uuid.UUID) -> list[DeletionRequest]:
    query = (
        select(DeletionRequest)
        .where(
            DeletionRequest.model_id == model_id, DeletionRequest.status == RequestStatus.PENDING
        )
        .order_by(DeletionRequest.received_at, DeletionRequest.id)
        .execution_options(populate_existing=True)
    )
    soon = urgent_from(session)
    # a stable sort: of equally urgent ones the oldest is first
    waiting = sorted(session.scalars(query), key=lambda r: r.needs_approval or r.due_at > soon)
    return [request for request in waiting if _terms(request) == _terms(waiting[0])]


def urgent_from(session: Session) -> datetime:
    """Return the time up to which what is due comes before what has to wait for approval."""
    return now(session) + timedelta(days=limits(session).approval_yields_days)


def _terms(request: DeletionRequest) -> tuple[str, list[Rung], str, bool, str | None]:
    approval = request.created_by if request.needs_approval else None
    return request.policy_digest, list(request.ladder), request.audit, request.pool, approval


def active_run(session: Session, model_id: uuid.UUID) -> bool:
    """Say whether a run of the model is active."""
    return session.scalar(_ACTIVE_RUN, {"model_id": model_id}) is not None


def _union(sets: Iterable[BitMap]) -> BitMap:
    return BitMap.union(BitMap(), *sets)
