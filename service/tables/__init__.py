"""The SQLAlchemy tables; only `service.ledger` and `service.keys` write to them.

There are no ORM relationships: whoever needs another row asks for it, so nothing loads by surprise.
"""

from service.tables.base import (
    AuditPurpose,
    AuditStatus,
    Base,
    EndpointState,
    GroupStatus,
    JobKind,
    JobStatus,
    ModelStatus,
    PoolState,
    QualificationState,
    ReferenceState,
    RequestStatus,
    RunState,
    VersionState,
    new_id,
)
from service.tables.contract import Approval, IdempotencyKey
from service.tables.datasets import Dataset, DatasetRevision, Sample, Tombstones
from service.tables.deployments import Deployment
from service.tables.evidence import AuditCheckpoint, AuditEvent, Outbox, Report
from service.tables.groups import RequestGroup
from service.tables.identity import ApiKey, Tenant
from service.tables.jobs import Job, JobNeed, Pool, Reference
from service.tables.models import Model, ModelVersion
from service.tables.purges import ErasedHash, Purge
from service.tables.qualifications import Qualification, QualificationTrial
from service.tables.requests import (
    Audit,
    DeletionRequest,
    RequestAudit,
    RequestCopies,
    RequestSamples,
    Run,
)
from service.tables.webhooks import (
    OpendsrRequest,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)

__all__ = [
    "ApiKey",
    "Approval",
    "Audit",
    "AuditCheckpoint",
    "AuditEvent",
    "AuditPurpose",
    "AuditStatus",
    "Base",
    "Dataset",
    "DatasetRevision",
    "DeletionRequest",
    "Deployment",
    "EndpointState",
    "ErasedHash",
    "GroupStatus",
    "IdempotencyKey",
    "Job",
    "JobKind",
    "JobNeed",
    "JobStatus",
    "Model",
    "ModelStatus",
    "ModelVersion",
    "OpendsrRequest",
    "Outbox",
    "Pool",
    "PoolState",
    "Purge",
    "Qualification",
    "QualificationState",
    "QualificationTrial",
    "Reference",
    "ReferenceState",
    "Report",
    "RequestAudit",
    "RequestCopies",
    "RequestGroup",
    "RequestSamples",
    "RequestStatus",
    "Run",
    "RunState",
    "Sample",
    "Tenant",
    "Tombstones",
    "VersionState",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "new_id",
]
