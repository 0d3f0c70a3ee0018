"""What a request may ask for."""

import uuid
from dataclasses import replace

from pyroaring import BitMap
from sqlalchemy.orm import Session

from service.bitmaps import unpack
from service.errors import Conflict, Unprocessable
from service.ledger.deadlines import REGIMES
from service.ledger.orders import AUDIT_LEVELS, POOLED, RETRAIN, Caller, RequestOrder
from service.ledger.reading import get_model
from service.ledger.rungs import checked_ladder, methods_of
from service.ledger.samples import erased_ordinals, requested_ordinals, trained_on, training_set
from service.tables import Model, ModelStatus


def usable_model(session: Session, caller: Caller, model_id: uuid.UUID) -> Model:
    """Return a model that can be retrained; raise NotFound, Conflict or Unprocessable if not."""
    model = get_model(session, caller, model_id)
    if model.status == ModelStatus.REJECTED:
        raise Conflict("model_rejected", f"The model cannot be used: {model.reason}")
    if model.recipe is None:
        raise Unprocessable(
            "recipe_required",
            "Without its training recipe nothing can be retrained, so no erasure of this model"
            " could be shown or guaranteed. Register the model with its recipe.",
        )
    return model


def checked_terms(order: RequestOrder) -> RequestOrder:
    """Return the order with its ladder in its one form.

    Raises:
        Unprocessable: a regulation, an audit level, a method or a hyper-parameter that there is
            not, or a ladder that makes no sense.
    """
    if order.regulation not in REGIMES:
        known = ", ".join(REGIMES)
        _refuse("unknown_regulation", "/regulation", f"The regulations are: {known}.")
    if order.audit not in AUDIT_LEVELS:
        _refuse("unknown_audit", "/audit", f"The audit levels are: {', '.join(AUDIT_LEVELS)}.")
    ladder = checked_ladder(order)
    if order.audit == "none" and RETRAIN not in methods_of(ladder):
        _refuse("retrain_required", "/ladder", "Without an audit only retrain closes a request.")
    if order.pool:
        _check_pool(order)
    return replace(order, ladder=ladder)


def _check_pool(order: RequestOrder) -> None:
    """Refuse a pool that nothing would use, or that no trial of a qualification had."""
    if order.audit != "references":
        detail = "A pool needs the audit level references: no qualification was made with one."
        _refuse("pool_not_usable", "/pool", detail)
    if not set(POOLED) & set(methods_of(order.ladder)):
        methods = ", ".join(POOLED)
        detail = f"No method of the ladder uses a pool; those that do: {methods}."
        _refuse("pool_not_usable", "/pool", detail)


def _refuse(code: str, pointer: str, detail: str) -> None:
    raise Unprocessable(code, detail, [{"pointer": pointer, "detail": detail}])


def refuse_taken(session: Session, model: Model, ordinals: BitMap, accepted: BitMap) -> None:
    """Refuse what a completed request erased or an open one is about to erase; `accepted`: E."""
    if not ordinals & accepted:
        return  # whatever a request was ever about is in E
    if erased := len(ordinals & unpack(model.erased)):
        detail = f"{erased} of the samples were erased from this model by a completed request."
        raise Conflict("already_erased", detail, count=erased)
    if taken := len(ordinals & requested_ordinals(session, model.id)):
        detail = f"{taken} of the samples are in another open request for this model."
        raise Conflict("already_requested", detail, count=taken)


def refuse_emptying(
    session: Session, model: Model, ordinals: BitMap, erased: BitMap | None = None
) -> BitMap:
    """Return what would be left to train on; refuse if that is nothing. `erased`: E, if known."""
    if erased is None:
        erased = erased_ordinals(session, model.dataset_id)
    training = training_set(trained_on(session, model))
    retain = training - erased - ordinals
    if not retain:
        _refuse("nothing_left", "/sample_ids", "No training sample would be left.")
    return retain
