"""Qualifications are opened here: k trial erasures, one job each, that erase nothing."""

import hashlib
import secrets
import uuid
from random import Random

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import pack, unpack
from service.database import now
from service.errors import Conflict, Unprocessable
from service.ledger.graph import add_job, queue_job
from service.ledger.log import take_turn
from service.ledger.orders import APPROXIMATE_METHODS, TRIAL_KINDS, Caller, QualificationOrder
from service.ledger.reading import find_current
from service.ledger.samples import erased_for, trained_on, training_set
from service.ledger.states import record
from service.ledger.terms import usable_model
from service.methods import plugin_methods
from service.policies import load_policy
from service.quotas import check_quota
from service.tables import (
    JobKind,
    Model,
    ModelStatus,
    ModelVersion,
    Qualification,
    QualificationState,
    QualificationTrial,
    Sample,
    new_id,
)

FIRST_TRIAL_SEED = 10_000
LAST_TRIAL_SEED = 2**31 - 10_000  # below it there is room for the references' seeds
PLANTED = (4, 20)  # fewest and most samples that a trial plants; between them a twentieth of D ∖ E


def open_qualification(
    session: Session, caller: Caller, order: QualificationOrder
) -> Qualification:
    """Accept a qualification and queue its trials; E does not grow and no version changes.

    Each trial is one job with its own original (where it plants wrong labels), method run,
    references and audit, so several workers share them. E is frozen now, as a run does.

    Raises:
        NotFound: the model.
        Conflict: `quota_exceeded`, `model_rejected`, `model_not_ready`.
        Unprocessable: `recipe_required`, `unknown_policy`, `unknown_method`, `unknown_trial_kind`,
            `too_few_trials`, `too_many_trials`.
    """
    take_turn(session, caller.tenant_id)
    own = Qualification.tenant_id == caller.tenant_id
    running = Qualification.state == QualificationState.RUNNING
    check_quota(session, "running_qualifications", Qualification, own, running)
    model = usable_model(session, caller, order.model_id)
    base = find_current(session, model.id)
    if model.status != ModelStatus.READY or base is None:
        raise Conflict("model_not_ready", "The model's weights are still being checked.")
    _check(order)
    row = _new_row(session, caller, order, model, base)
    targets = _targets(session, model, row)
    session.add(row)
    session.flush()
    facts = {"method": row.method, "trials": row.num_trials, "kinds": list(row.kinds)}
    record(session, row, "opened", caller.actor, policy=row.policy_digest, seed=row.seed, **facts)
    for number, (label, forget) in enumerate(targets):
        _add_trial(session, row, number, label, forget)
    return row


def _check(order: QualificationOrder) -> None:
    known = (*APPROXIMATE_METHODS, *plugin_methods(order.plugins))
    if order.method not in known:
        words = f"Methods that can be qualified are: {', '.join(known)}."
        _refuse("unknown_method", "/method", words)
    kinds = list(order.kinds)
    if not kinds or len(set(kinds)) != len(kinds) or set(kinds) - set(TRIAL_KINDS):
        words = f"Name kinds of trials once: {', '.join(TRIAL_KINDS)}."
        _refuse("unknown_trial_kind", "/kinds", words)
    if order.trials < len(kinds):
        _refuse("too_few_trials", "/trials", "Each kind needs a trial at least.")


def _new_row(
    session: Session, caller: Caller, order: QualificationOrder, model: Model, base: ModelVersion
) -> Qualification:
    policy = load_policy(order.policy)
    return Qualification(
        id=new_id(),
        tenant_id=caller.tenant_id,
        model_id=model.id,
        base_version_id=base.id,
        recipe_digest=model.recipe_digest or "",
        dataset_fingerprint=trained_on(session, model).fingerprint,
        method=order.method,
        policy=policy.document,
        policy_digest=policy.digest,
        kinds=list(order.kinds),
        num_trials=order.trials,
        num_references=policy.document["looks"][0],
        seed=secrets.randbelow(2**31) if order.seed is None else order.seed,
        erased=pack(erased_for(session, model)),
        state=QualificationState.RUNNING,
        created_by=caller.actor,
        created_at=now(session),
    )


def _targets(session: Session, model: Model, row: Qualification) -> list[tuple[int | None, BitMap]]:
    """Return what each trial forgets: (label, its samples) or (None, samples to plant)."""
    dataset = trained_on(session, model)
    available = training_set(dataset) - erased_for(session, model)
    holdout = unpack(dataset.holdout_ordinals)
    classes = _classes(session, model.dataset_id, available, holdout)
    labels = sorted(classes)
    Random(str(row.seed)).shuffle(labels)  # noqa: S311 - a draw that can be repeated, no secret
    kinds = [row.kinds[number % len(row.kinds)] for number in range(row.num_trials)]
    if kinds.count("class") > len(labels):
        _refuse(
            "too_many_trials",
            "/trials",
            f"Only {len(labels)} classes can be left out in turn: each needs hold-out samples and"
            " more training samples in the others than in itself.",
        )
    turns = iter(labels)
    targets: list[tuple[int | None, BitMap]] = []
    for number, kind in enumerate(kinds):
        if kind == "class":
            label = next(turns)
            targets.append((label, classes[label]))
        else:
            targets.append((None, _planted(available, f"{row.seed}/{number}")))
    return targets


def _classes(
    session: Session, dataset_id: uuid.UUID, available: BitMap, holdout: BitMap
) -> dict[int, BitMap]:
    """Return the samples of each class that can be left out, R being larger than it."""
    query = select(Sample.ordinal, Sample.label).where(Sample.dataset_id == dataset_id)
    found: dict[int, BitMap] = {}
    held_out: set[int] = set()
    for ordinal, label in session.execute(query.execution_options(yield_per=5_000)):
        if ordinal in holdout:
            held_out.add(label)
        elif ordinal in available:
            found.setdefault(label, BitMap()).add(ordinal)
    return {
        label: ordinals
        for label, ordinals in found.items()
        if label in held_out and 2 * len(ordinals) <= len(available)
    }


def _planted(available: BitMap, seed: str) -> BitMap:
    """Draw the samples that a trial gives wrong labels."""
    fewest, most = PLANTED
    count = min(max(len(available) // 20, fewest), most)
    if 2 * count > len(available):
        _refuse("too_few_trials", "/kinds", "Too few training samples are left to plant any.")
    return BitMap(Random(seed).sample(list(available), count))  # noqa: S311 - repeatable, no secret


def _add_trial(
    session: Session, row: Qualification, number: int, label: int | None, forget: BitMap
) -> None:
    job = add_job(session, row, JobKind.TRIAL, {"trial": number})
    hashed = hashlib.sha256(f"{row.seed}/{number}".encode()).digest()
    span = LAST_TRIAL_SEED - FIRST_TRIAL_SEED
    session.add(
        QualificationTrial(
            tenant_id=row.tenant_id,
            qualification_id=row.id,
            job_id=job.id,
            number=number,
            kind="mislabelled" if label is None else "class",
            label=label,
            forget=pack(forget),
            seed=FIRST_TRIAL_SEED + int.from_bytes(hashed[:4], "big") % span,
        )
    )
    session.flush()
    queue_job(session, job)


def _refuse(code: str, pointer: str, detail: str) -> None:
    raise Unprocessable(code, detail, [{"pointer": pointer, "detail": detail}])
