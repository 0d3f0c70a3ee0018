"""What a controller may ask by OpenDSR, and how it becomes an order for the ledger."""

import json
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from service import ledger, strict_json
from service.bounds import AwareMoment
from service.config import Settings
from service.errors import ServiceError
from service.ladders import NamedRung
from service.ledger import Caller, RequestOrder
from service.opendsr import IDENTITY
from service.schemas import DeletionOrder, SampleId
from service.targets import chosen_sample_ids

_UUID4 = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"


class Identity(BaseModel):
    """One identity of a data subject; only `controller_customer_id` in `raw` format is known."""

    identity_type: str = Field(max_length=100)
    identity_value: SampleId
    identity_format: str = Field(max_length=20)

    @property
    def supported(self) -> bool:
        """Whether manifests can hold it as `subject_id`."""
        pair = {"identity_type": self.identity_type, "identity_format": self.identity_format}
        return pair == IDENTITY


class Extension(BaseModel):
    """What this processor takes beyond OpenDSR, under its own domain in `extensions`."""

    model_config = ConfigDict(extra="forbid")
    model_id: uuid.UUID | None = None
    sample_ids: list[SampleId] = []
    policy: str = Field(default="standard", max_length=100)
    ladder: list[NamedRung] | None = Field(default=None, min_length=1, max_length=10)
    audit: Literal["references", "qualified", "none"] = "references"


class OpendsrOrder(BaseModel):
    """An OpenDSR 2.0 request; members that are not of the specification are ignored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "regulation": "gdpr",
                    "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
                    "subject_request_type": "erasure",
                    "submitted_time": "2026-11-02T15:00:00Z",
                    "subject_identities": [{**IDENTITY, "identity_value": "customer-4711"}],
                    "api_version": "2.0",
                    "status_callback_urls": ["https://controller.example/opendsr/callbacks"],
                }
            ]
        }
    )
    regulation: Literal["gdpr", "ccpa"] = "gdpr"
    subject_request_id: str = Field(pattern=_UUID4)
    subject_request_type: Literal["access", "portability", "erasure"]
    subject_identities: list[Identity] = Field(default=[], max_length=1000)
    submitted_time: AwareMoment
    api_version: str | None = Field(default=None, max_length=20)
    status_callback_urls: list[str] = Field(default=[], max_length=10)
    extensions: dict[str, Any] = Field(default={}, max_length=100)

    def extension(self, domain: str) -> Extension:
        """Return this processor's own part of the request."""
        return Extension.model_validate(self.extensions.get(domain, {}))


def read_order(body: bytes, domain: str) -> tuple[OpendsrOrder, Extension]:
    """Return the request that a body is; refuse with words that repeat nothing of it.

    Raises:
        ServiceError: 400, `opendsr_invalid` or `opendsr_unsupported`.
    """
    try:
        order = OpendsrOrder.model_validate(strict_json.loads(body))
        own = order.extension(domain)
    except json.JSONDecodeError as error:
        words = f"The body is no JSON: {error.msg}, at character {error.pos}."
        raise ServiceError(400, "opendsr_invalid", words) from None
    except ValidationError as error:
        errors = [
            {"pointer": "".join(f"/{part}" for part in entry["loc"]), "detail": entry["msg"]}
            for entry in error.errors(include_input=False, include_url=False)[:20]
        ]
        words = "The body is no OpenDSR 2.0 request."
        raise ServiceError(400, "opendsr_invalid", words, errors) from None
    if order.subject_request_type != "erasure":
        raise ServiceError(400, "opendsr_unsupported", "Only erasure is supported here.")
    if not own.sample_ids and not any(found.supported for found in order.subject_identities):
        words = "None of the identities is of a supported type and format."
        raise ServiceError(400, "opendsr_unsupported", words)
    return order, own


def request_order(
    session: Session,
    caller: Caller,
    order: OpendsrOrder,
    own: Extension,
    *,
    settings: Settings,
) -> RequestOrder:
    """Return the order for the ledger: customer ids name the subjects of the manifest.

    Raises:
        ServiceError: `opendsr_no_model`; and what `chosen_sample_ids` raises.
    """
    model_id = own.model_id or settings.opendsr_model_id
    if model_id is None:
        raise ServiceError(400, "opendsr_no_model", "No model is named and none is configured.")
    subjects = [found.identity_value for found in order.subject_identities if found.supported]
    named = DeletionOrder(model_id=model_id, sample_ids=own.sample_ids, subject_ids=subjects)
    return RequestOrder(
        model_id=model_id,
        sample_ids=chosen_sample_ids(session, caller, model_id, named, settings.max_sample_ids),
        subject_request_id=order.subject_request_id,
        regulation=order.regulation,
        submitted_time=order.submitted_time,
        policy=own.policy,
        ladder=[rung.plain for rung in own.ladder or ()] or ledger.DEFAULT_LADDER,
        audit=own.audit,
        plugins=settings.plugin_methods,
    )
