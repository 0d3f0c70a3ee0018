"""A caller's own number names one deletion request, or one group, of its tenant.

It does so until that is cancelled, rejected or failed. Callers have taken their turn, so nobody
else of the tenant takes a number between the look-up and the writing.
"""

import hashlib
import hmac
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import Conflict
from service.ledger.orders import Caller
from service.tables import DeletionRequest, GroupStatus, RequestGroup, RequestStatus

Named = DeletionRequest | RequestGroup
AnyNamed = TypeVar("AnyNamed", DeletionRequest, RequestGroup)


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


def known_as(
    session: Session,
    caller: Caller,
    kind: type[AnyNamed],
    subject_request_id: str | None,
    stated: bytes,
) -> AnyNamed | None:
    """Return what this wish repeats word for word, None where nothing has the number.

    `stated` is what was asked, as `RequestOrder.stated` was then.

    Raises:
        Conflict: `subject_request_exists`: another wish, or one of the other kind, has the number.
    """
    known = named_by_subject(session, caller, subject_request_id)
    if known is None:
        return None
    if isinstance(known, kind) and repeats(known, stated):
        return known
    raise _taken(known)


def refuse_number_taken(session: Session, caller: Caller, subject_request_id: str | None) -> None:
    """Refuse a number that names something.

    Raises:
        Conflict: `subject_request_exists`.
    """
    if known := named_by_subject(session, caller, subject_request_id):
        raise _taken(known)


def _taken(known: Named) -> Conflict:
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
