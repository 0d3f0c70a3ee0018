"""A candidate that passed waits for a person's word where its requests ask for one."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from sqlalchemy.orm import Session

from service.database import now
from service.errors import Conflict
from service.ledger.closing import close_run
from service.ledger.failing import climb, fail_run
from service.ledger.log import take_turn
from service.ledger.orders import Caller
from service.ledger.planning import pass_over, requests_of, waiting_approval
from service.ledger.reading import get_request
from service.ledger.report_context import ReportContext, SignedReport
from service.ledger.starting import NOT_APPROVED
from service.ledger.states import record
from service.tables import Approval, DeletionRequest, ModelVersion, Run, new_id

Publish = Callable[[ReportContext], SignedReport]
Decision = Literal["approved", "rejected"]


def ask_approval(
    session: Session, run: Run, verdicts: Mapping[uuid.UUID, str], result: dict[str, Any]
) -> None:
    """Keep what closes the run until somebody approves or rejects its candidate.

    The run stays active meanwhile, so no other run of the model overtakes it; the webhooks are told
    for each request. The question yields to deadlines, see `service.ledger.yielding`.
    """
    candidate = session.get_one(ModelVersion, run.candidate_version_id)
    session.add(
        Approval(
            id=new_id(),
            tenant_id=run.tenant_id,
            run_id=run.id,
            version_id=candidate.id,
            verdicts={str(key): verdict for key, verdict in verdicts.items()},
            result=result,
            asked_at=now(session),
        )
    )
    session.flush()
    record(session, run, "awaits_approval", version=candidate.number)
    for request in requests_of(session, run):
        record(session, request, "awaiting_approval", version=candidate.number)


def decide(
    session: Session,
    caller: Caller,
    request_id: uuid.UUID,
    decision: Decision,
    reason_code: str,
    *,
    candidate: int | None,
    publish: Publish,
) -> DeletionRequest:
    """Approve or reject the candidate that a request's run waits with, for all its requests.

    Approved, it is promoted and the requests are closed and reported. Rejected, it is put aside and
    the run climbs; without a rung left it fails. `candidate`: refuse if it is not this version.

    Raises:
        NotFound: no such request.
        Conflict: `not_awaiting_approval`, `other_candidate`, `approver_is_requester`.
    """
    take_turn(session, caller.tenant_id)
    run, approval = _waiting(session, get_request(session, caller, request_id))
    version = session.get_one(ModelVersion, approval.version_id)
    if candidate is not None and candidate != version.number:
        detail = f"Version {version.number} waits for approval, not version {candidate}."
        raise Conflict("other_candidate", detail, candidate=version.number)
    if caller.actor in {row.created_by for row in requests_of(session, run)}:
        detail = "Whoever made a request of this run cannot decide about it."
        raise Conflict("approver_is_requester", detail)
    approval.decision, approval.reason_code = decision, reason_code
    approval.decided_by, approval.decided_at = caller.actor, now(session)
    session.flush()
    facts = {"version": version.number, "sha256": version.weights_sha256, "code": reason_code}
    record(session, run, decision, caller.actor, **facts)
    if decision == "approved":
        verdicts = {uuid.UUID(key): verdict for key, verdict in approval.verdicts.items()}
        close_run(session, run, verdicts, approval.result, publish)
    else:
        _go_on(session, run, version, approval)
    session.flush()
    return get_request(session, caller, request_id)


def _waiting(session: Session, request: DeletionRequest) -> tuple[Run, Approval]:
    run = None if request.run_id is None else session.get_one(Run, request.run_id)
    approval = None if run is None else waiting_approval(session, run)
    if run is None or approval is None:
        raise Conflict("not_awaiting_approval", "No candidate waits for approval here.")
    return run, approval


def _go_on(session: Session, run: Run, version: ModelVersion, approval: Approval) -> None:
    """Note that a person, not the audit, put the candidate aside; climb, or fail without a rung."""
    number = version.number
    words = (
        f"Version {number} was put aside by {approval.decided_by}, not by its audit:"
        f" {approval.reason_code}."
    )
    pass_over(session, run, NOT_APPROVED, words)
    if run.rung + 1 < len(run.ladder):
        climb(session, run)
        return
    reason = (
        f"Version {number} passed but was not approved, and the ladder has no further method. The"
        " current version still contains the data. Request the samples again."
    )
    fail_run(session, run, NOT_APPROVED, reason)
