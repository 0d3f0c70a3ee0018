"""Audits of weights made elsewhere come in here; they erase nothing."""

from sqlalchemy.orm import Session

from service.bitmaps import digest, pack
from service.commitment import commit
from service.database import now
from service.errors import Conflict, NotFound
from service.ledger.log import take_turn
from service.ledger.named import resolve_training_samples
from service.ledger.orders import AuditOrder, Caller
from service.ledger.planning import start_look
from service.ledger.reading import find_current, get_version
from service.ledger.samples import erased_for
from service.ledger.states import record
from service.ledger.terms import refuse_emptying, usable_model
from service.policies import load_policy
from service.quotas import check_quota
from service.tables import Audit, AuditStatus, Model, ModelStatus, ModelVersion, new_id


def open_audit(session: Session, caller: Caller, order: AuditOrder) -> Audit:
    """Accept an audit of weights made elsewhere; it erases nothing and touches no version.

    Raises:
        NotFound: the model or the base version.
        Conflict: `quota_exceeded`, `model_rejected`, `model_not_ready`.
        Unprocessable: `recipe_required`, `nothing_left`, `unknown_policy`, or sample ids as in
            `resolve_training_samples`.
    """
    take_turn(session, caller.tenant_id)
    own = (Audit.tenant_id == caller.tenant_id, Audit.status == AuditStatus.IN_PROGRESS)
    check_quota(session, "open_audits", Audit, *own)
    model = usable_model(session, caller, order.model_id)
    if model.status != ModelStatus.READY:
        raise Conflict("model_not_ready", "The model's weights are still being checked.")
    audit = _new_audit(session, caller, order, model)
    session.add(audit)
    session.flush()
    facts = {"samples": audit.num_samples, "commitment": audit.commitment_root}
    record(session, audit, "opened", caller.actor, weights_sha256=audit.weights_sha256, **facts)
    start_look(session, audit)
    return audit


def _new_audit(session: Session, caller: Caller, order: AuditOrder, model: Model) -> Audit:
    base = _base_version(session, caller, order)
    policy = load_policy(order.policy)
    forget = resolve_training_samples(session, model, order.sample_ids)
    retain = refuse_emptying(session, model, forget)
    salt, root = commit(order.sample_ids)
    return Audit(
        id=new_id(),
        tenant_id=caller.tenant_id,
        model_id=model.id,
        base_version_id=base.id,
        label=order.label,
        num_samples=len(forget),
        forget=pack(forget),
        erased=pack(erased_for(session, model)),
        retain_digest=digest(retain),
        weights_uri=order.weights_uri,
        weights_sha256=order.weights_sha256,
        policy=policy.document,
        policy_digest=policy.digest,
        look=1,
        commitment_root=root,
        commitment_salt=salt,
        status=AuditStatus.IN_PROGRESS,
        created_by=caller.actor,
        created_at=now(session),
    )


def _base_version(session: Session, caller: Caller, order: AuditOrder) -> ModelVersion:
    if order.base_version is not None:
        return get_version(session, caller, order.model_id, order.base_version)
    version = find_current(session, order.model_id)
    if version is None:
        raise NotFound("version")
    return version
