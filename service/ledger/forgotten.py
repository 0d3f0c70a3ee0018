"""What a model's weights were to be without when they were audited: the scope of the drift."""

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import unpack
from service.tables import Audit, DeletionRequest, Model, RequestAudit, Run, RunState


def forgotten_ordinals(session: Session, owner: Run | Audit) -> BitMap:
    """Return the ordinals that completed requests had erased from the model before this audit.

    E holds more: samples of requests that wait, are on hold, were withdrawn or failed, and those
    asked of other models of the data set. The audited weights may still know all of these, and to
    know them is no drift. A later audit of a closed request gets what its run's own audit got.
    """
    run = owner if isinstance(owner, Run) else _run_of(session, owner)
    moment = owner.created_at if run is None else run.created_at
    # the model first: a run that closes in between is then in neither or in `later` alone
    model = session.get_one(Model, owner.model_id, populate_existing=True)
    later = select(Run.forget).where(
        Run.model_id == owner.model_id, Run.state == RunState.COMPLETED, Run.closed_at > moment
    )
    since = BitMap.union(BitMap(), *(unpack(forget) for forget in session.scalars(later)))
    own = BitMap() if run is None else unpack(run.forget)
    return (unpack(model.erased) - since) | own


def _run_of(session: Session, audit: Audit) -> Run | None:
    """Return the run of the closed request that an audit is about, if it is about one."""
    query = (
        select(Run)
        .join(DeletionRequest, DeletionRequest.run_id == Run.id)
        .join(RequestAudit, RequestAudit.request_id == DeletionRequest.id)
        .where(RequestAudit.audit_id == audit.id)
    )
    return session.scalars(query).one_or_none()
