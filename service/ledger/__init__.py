"""The ledger: the only writer of states. Functions take a session and never commit.

Every change is an entry of the tenant's audit log in the same transaction.
"""

from service.ledger.approving import decide
from service.ledger.artifacts import named_artifacts, record_collected
from service.ledger.audits import open_audit
from service.ledger.calls import (
    HeldCall,
    KeptAnswer,
    NamedCall,
    begin_call,
    drop_call,
    keep_answer,
    renew_call,
)
from service.ledger.checkpoints import (
    add_checkpoint,
    due_checkpoints,
    get_checkpoint,
    list_checkpoints,
    read_entries,
    refuse_damaged,
    verify_chain,
)
from service.ledger.completing import (
    complete,
)
from service.ledger.copies import copy_counts, list_copies
from service.ledger.deadlines import DUE_RULES, due_at, extended_due_at, lapses_at
from service.ledger.holds import held_datasets
from service.ledger.jobs import (
    claim,
    fail,
    release,
    renew,
    urgent_jobs,
)
from service.ledger.leaving import cancel_request, extend_request, hold_request, release_request
from service.ledger.log import (
    event_fields,
    event_hash,
    iso,
    list_events,
    log_position,
    record_event,
    take_turn,
)
from service.ledger.named import named_early
from service.ledger.orders import (
    APPROXIMATE_METHODS,
    AUDIT_LEVELS,
    DEFAULT_LADDER,
    METHODS,
    TRIAL_KINDS,
    AuditOrder,
    Caller,
    Claim,
    CopyCounts,
    DatasetDraft,
    FoundCopy,
    JobError,
    JobPackage,
    ModelDraft,
    PackageRow,
    Page,
    QualificationOrder,
    RequestOrder,
    Rung,
    SampleRow,
    SweepResult,
)
from service.ledger.outbox import (
    dispatch,
)
from service.ledger.outdated import refuse_outdated
from service.ledger.packages import (
    build_package,
)
from service.ledger.planning import (
    plan_run,
    waiting_approval,
)
from service.ledger.pricing import Hours, Price, RungPrice, Spread, price_request
from service.ledger.progress import (
    Progress,
    audit_progress_of,
    progress_of,
    qualification_progress_of,
)
from service.ledger.purging import finish_purges, pending_artifacts, purge
from service.ledger.qualifications import open_qualification
from service.ledger.reading import (
    current_version,
    get_audit,
    get_dataset,
    get_job,
    get_model,
    get_qualification,
    get_report,
    get_request,
    get_run,
    get_version,
    list_audits,
    list_datasets,
    list_jobs,
    list_models,
    list_qualifications,
    list_requests,
    list_versions,
    page_versions,
    report_of_audit,
    report_of_request,
)
from service.ledger.references import cache_key, purge_caches
from service.ledger.registering import (
    fingerprint,
    register_dataset,
    register_model,
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
from service.ledger.request_audits import (
    AuditOfRequest,
    audits_of_request,
    open_request_audit,
    request_audit_of,
    request_images,
)
from service.ledger.requests import known_request, open_request, repeated_request
from service.ledger.samples import (
    class_counts,
    erased_ordinals,
    find_sample_ids,
    list_samples,
)
from service.ledger.states import (
    MOVES,
)
from service.ledger.sweeping import (
    sweep,
)
from service.ledger.trials import trials_of

__all__ = [
    "APPROXIMATE_METHODS",
    "AUDIT_LEVELS",
    "DEFAULT_LADDER",
    "DUE_RULES",
    "METHODS",
    "MOVES",
    "TRIAL_KINDS",
    "AuditOfRequest",
    "AuditOrder",
    "Caller",
    "Claim",
    "CopyCounts",
    "DatasetDraft",
    "FoundCopy",
    "HeldCall",
    "Hours",
    "JobError",
    "JobPackage",
    "KeptAnswer",
    "LogPosition",
    "ModelDraft",
    "NamedCall",
    "PackageRow",
    "Page",
    "Price",
    "Progress",
    "QualificationOrder",
    "ReferenceFacts",
    "ReportContext",
    "RequestOrder",
    "ResidualCopy",
    "Rung",
    "RungPrice",
    "SampleRow",
    "SignedReport",
    "Spread",
    "SubjectFacts",
    "SweepResult",
    "VersionFacts",
    "add_checkpoint",
    "audit_progress_of",
    "audits_of_request",
    "begin_call",
    "build_package",
    "cache_key",
    "cancel_request",
    "claim",
    "class_counts",
    "complete",
    "copy_counts",
    "current_version",
    "decide",
    "dispatch",
    "drop_call",
    "due_at",
    "due_checkpoints",
    "erased_ordinals",
    "event_fields",
    "event_hash",
    "extend_request",
    "extended_due_at",
    "fail",
    "find_sample_ids",
    "fingerprint",
    "finish_purges",
    "get_audit",
    "get_checkpoint",
    "get_dataset",
    "get_job",
    "get_model",
    "get_qualification",
    "get_report",
    "get_request",
    "get_run",
    "get_version",
    "held_datasets",
    "hold_request",
    "iso",
    "keep_answer",
    "known_request",
    "lapses_at",
    "list_audits",
    "list_checkpoints",
    "list_copies",
    "list_datasets",
    "list_events",
    "list_jobs",
    "list_models",
    "list_qualifications",
    "list_requests",
    "list_samples",
    "list_versions",
    "log_position",
    "named_artifacts",
    "named_early",
    "open_audit",
    "open_qualification",
    "open_request",
    "open_request_audit",
    "page_versions",
    "pending_artifacts",
    "plan_run",
    "price_request",
    "progress_of",
    "purge",
    "purge_caches",
    "qualification_progress_of",
    "read_entries",
    "record_collected",
    "record_event",
    "refuse_damaged",
    "refuse_outdated",
    "register_dataset",
    "register_model",
    "release",
    "release_request",
    "renew",
    "renew_call",
    "repeated_request",
    "report_of_audit",
    "report_of_request",
    "request_audit_of",
    "request_images",
    "sweep",
    "take_turn",
    "trials_of",
    "urgent_jobs",
    "verify_chain",
    "waiting_approval",
]
