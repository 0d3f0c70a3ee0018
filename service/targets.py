"""Turn what a caller names (ids, labels, subjects) into sample ids."""

import uuid

from sqlalchemy.orm import Session

from service import ledger
from service.errors import Unprocessable
from service.ledger import Caller
from service.schemas import AuditOrder, DeletionOrder


def chosen_sample_ids(
    session: Session,
    caller: Caller,
    model_id: uuid.UUID,
    order: DeletionOrder | AuditOrder,
    limit: int,
    *,
    requested_too: bool = False,
) -> list[str]:
    """Return the ids as they were given, then those that labels and subjects add.

    These leave out what an open request is about to erase, unless ``requested_too``.

    Raises:
        NotFound: The model.
        Unprocessable: ``too_many_samples`` beyond ``limit``.
    """
    chosen = list(order.sample_ids)
    _refuse_beyond(limit, len(chosen))
    if order.labels or order.subject_ids:
        known = set(chosen)
        found = ledger.find_sample_ids(
            session,
            caller,
            model_id,
            labels=order.labels,
            subject_ids=order.subject_ids,
            requested_too=requested_too,
        )
        chosen += [sample_id for sample_id in found if sample_id not in known]
        _refuse_beyond(limit, len(chosen))
    return chosen


def _refuse_beyond(limit: int, count: int) -> None:
    if count > limit:
        detail = f"{count} samples were named, {limit} are allowed in one request."
        errors = [{"pointer": "/sample_ids", "detail": detail}]
        raise Unprocessable("too_many_samples", detail, errors, limit=limit, count=count)
