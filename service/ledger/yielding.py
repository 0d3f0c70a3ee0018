"""A question that nobody answers yields to the deadlines of others.

A run stays active while its candidate waits for approval, and with it every other request of the
model waits. Before one of these that needs no approval would be late, the candidate is put aside,
not promoted: without the word that was asked for it must not be. Its requests wait again and are
taken up in a later run, with a candidate and a question of their own.
"""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import now
from service.ledger.log import take_turn
from service.ledger.planning import (
    finish_run,
    plan_run,
    requests_of,
    urgent_from,
    waiting_approval,
)
from service.ledger.states import move, record
from service.tables import Approval, DeletionRequest, RequestStatus, Run, RunState

CODE = "approval_yielded"
STANDS = timedelta(days=1)
"""How long a question stands at least, however near the deadlines of others are."""


def yield_to_deadlines(session: Session) -> int:
    """Withdraw the questions that hold up what is due soon, and plan anew; return how many."""
    query = (
        select(Run.id, Run.tenant_id)
        .join(Approval, Approval.run_id == Run.id)
        .where(Approval.decision.is_(None), Approval.asked_at <= now(session) - STANDS)
    )
    withdrawn = 0
    for run_id, tenant_id in session.execute(query).all():
        take_turn(session, tenant_id)
        run = session.get_one(Run, run_id, populate_existing=True)
        approval = waiting_approval(session, run)
        if run.state == RunState.ACTIVE and approval is not None and _holds_up(session, run):
            _withdraw(session, run, approval)
            withdrawn += 1
    return withdrawn


def _holds_up(session: Session, run: Run) -> bool:
    """Say whether a request that needs no approval waits for this run and is due soon."""
    query = select(DeletionRequest.id).where(
        DeletionRequest.model_id == run.model_id,
        DeletionRequest.status == RequestStatus.PENDING,
        DeletionRequest.needs_approval.is_(False),
        DeletionRequest.due_at <= urgent_from(session),
    )
    return session.scalar(query.limit(1)) is not None


def _withdraw(session: Session, run: Run, approval: Approval) -> None:
    approval.reason_code = CODE
    record(session, run, "withdrawn", code=CODE)
    for request in requests_of(session, run):
        move(session, request, RequestStatus.PENDING, code=CODE)
        request.run_id = request.base_version_id = None
    session.flush()
    reason = "Nobody had decided about its candidate when another request was due soon."
    finish_run(session, run, RunState.CANCELLED, reason)
    plan_run(session, run.model_id)
