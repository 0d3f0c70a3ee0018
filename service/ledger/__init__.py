"""The ledger: the only writer of states. Functions take a session and never commit.

Every change is an entry of the tenant's audit log in the same transaction.
"""

from service.ledger.log import (
    ChainCheck,
    event_fields,
    list_events,
    log_position,
    record_event,
    verify_chain,
)
from service.ledger.orders import (
    AUDIT_LEVELS,
    DEFAULT_LADDER,
    METHODS,
    AuditOrder,
    Caller,
    Claim,
    DatasetDraft,
    JobError,
    JobPackage,
    ModelDraft,
    PackageRow,
    Page,
    RequestOrder,
    SampleRow,
    SweepResult,
)
from service.ledger.report_context import (
    LogPosition,
    ReferenceFacts,
    ReportContext,
    ResidualCopy,
    SignedReport,
    SubjectFacts,
    VersionFacts,
)

__all__ = [
    "AUDIT_LEVELS",
    "DEFAULT_LADDER",
    "METHODS",
    "AuditOrder",
    "Caller",
    "ChainCheck",
    "Claim",
    "DatasetDraft",
    "JobError",
    "JobPackage",
    "LogPosition",
    "ModelDraft",
    "PackageRow",
    "Page",
    "ReferenceFacts",
    "ReportContext",
    "RequestOrder",
    "ResidualCopy",
    "SampleRow",
    "SignedReport",
    "SubjectFacts",
    "SweepResult",
    "VersionFacts",
    "event_fields",
    "list_events",
    "log_position",
    "record_event",
    "verify_chain",
]
