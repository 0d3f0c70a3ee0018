"""A caller's own number names one deletion request, or one group, of its tenant.

It does so until that is cancelled, rejected or failed. Callers have taken their turn, so nobody
else of the tenant takes a number between the look-up and the writing.
"""

import hashlib
import hmac

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import Conflict
from service.ledger.orders import Caller
from service.tables import DeletionRequest, GroupStatus, RequestGroup, RequestStatus

Named = DeletionRequest | RequestGroup


def named_by_subject(
    session: Session, caller: Caller, subject_request_id: str | None
) -> Named | None:
    """Return the request or group that has this number, None where it is free."""
    if subject_request_id is None:
        return None
    over = (RequestStatus.CANCELLED, RequestStatus.REJECTED, RequestStatus.FAILED)
    single = select(DeletionRequest).where(
        DeletionRequest.tenant_id == caller.tenant_id,
        DeletionRequest.subject_request_id == subject_request_id,
        DeletionRequest.group_id.is_(None),
        DeletionRequest.status.not_in(over),
    )
    group = select(RequestGroup).where(
        RequestGroup.tenant_id == caller.tenant_id,
        RequestGroup.subject_request_id == subject_request_id,
        RequestGroup.status.not_in([GroupStatus.CANCELLED, GroupStatus.FAILED]),
    )
    fresh = {"populate_existing": True}
    found: Named | None = session.scalar(single.execution_options(**fresh))
    return found or session.scalar(group.execution_options(**fresh))


def subject_taken(known: Named) -> Conflict:
    """Return the refusal of a number that names something else."""
    collection = "deletion-requests"
    if isinstance(known, RequestGroup):
        collection = "deletion-request-groups"
    location = f"/v1/{collection}/{known.id}"
    detail = f"Another request has this subject_request_id: {location}."
    return Conflict("subject_request_exists", detail, location=location)


def repeats(known: Named, stated: bytes) -> bool:
    """Say whether this is word for word what was asked then."""
    salt = known.order_salt if isinstance(known, RequestGroup) else known.commitment_salt
    digest = known.order_digest
    return bool(salt and digest) and hmac.compare_digest(
        digest or "", order_digest(salt or b"", stated)
    )


def order_digest(salt: bytes, stated: bytes) -> str:
    """Return what a wish is known by: HMAC-SHA256 of its words under a salt."""
    return hmac.new(salt, stated, hashlib.sha256).hexdigest()
