"""Bodies of what can be done to an open deletion request; reasons are codes, never free words.

A reason goes into the audit log for good, so it can hold nothing personal.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ExtensionOrder(_Order):
    """Why more time is needed; the grounds of GDPR Art. 12(3)."""

    reason: Literal["complexity", "number_of_requests", "complexity_and_number"]


class HoldOrder(_Order):
    """Why the data must be kept for now; the exceptions of GDPR Art. 17(3)."""

    reason: Literal[
        "freedom_of_expression",
        "legal_obligation",
        "public_health",
        "archiving_or_research",
        "legal_claims",
        "other",
    ]


class ApprovalOrder(_Order):
    """Let the candidate be promoted."""

    reason: Literal["evidence_reviewed", "accepted_risk", "other"]
    candidate_version: int | None = Field(
        default=None, ge=1, lt=2**31, description="Refuse if another version waits."
    )


class RejectionOrder(_Order):
    """Keep the candidate from being promoted."""

    reason: Literal["evidence_insufficient", "utility_loss", "wrong_samples", "other"]
    candidate_version: int | None = Field(
        default=None, ge=1, lt=2**31, description="Refuse if another version waits."
    )
