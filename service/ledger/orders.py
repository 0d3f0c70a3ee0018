"""What callers hand to the ledger and get back from it: plain values, no behaviour."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from service.methods import catalog

T = TypeVar("T")
Rung = str | dict[str, Any]
"""A method's name, or {method, hyperparameters} where some are not the defaults."""

METHODS = tuple(catalog())
"""Expunge's own methods, which a ladder may name; `retrain` can only be the last rung."""

DEFAULT_LADDER = ("muda", "distilled_recovery", "retrain")

RETRAIN = "retrain"

APPROXIMATE_METHODS = tuple(method for method in METHODS if method != RETRAIN)
"""Expunge's methods that a qualification can be about; retraining is exact and needs none."""

POOLED = ("muda",)
"""Methods that can take a pool's predictions as targets."""

AUDIT_LEVELS = ("references", "qualified", "none")

TRIAL_KINDS = ("class", "mislabelled")
"""Trial erasures: a class left out, and samples planted with wrong labels."""


@dataclass(frozen=True)
class Caller:
    """Who calls, for which tenant and with which scopes; made by `service.keys`."""

    tenant_id: uuid.UUID
    actor: str
    scopes: frozenset[str] = frozenset()


class SampleRow(NamedTuple):
    """One row of a manifest; `sha256` is the hex digest of the image's bytes."""

    sample_id: str
    label: int
    split: Literal["train", "holdout"]
    uri: str
    sha256: str
    subject_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetDraft:
    """A validated manifest; `rows` in the order of their ordinals, `root` what uris are below."""

    name: str
    manifest_uri: str
    format: str
    root: str
    class_names: Sequence[str]
    rows: Sequence[SampleRow]


@dataclass(frozen=True, kw_only=True)
class GrowthDraft:
    """A validated manifest of samples to add to a data set, in the order of their ordinals."""

    manifest_uri: str
    format: str
    rows: Sequence[SampleRow]


@dataclass(frozen=True, kw_only=True)
class ModelDraft:
    """A model whose weights already lie in storage under `weights_uri` (a storage key).

    `dataset_revision`: null for the newest. `trained_on_erased`: whether its training saw samples
    that were accepted for erasure; null where the owner does not say.
    """

    name: str
    dataset_id: uuid.UUID
    architecture: str
    weights_uri: str
    weights_sha256: str
    preprocessing: dict[str, Any]
    architecture_kwargs: dict[str, Any] = field(default_factory=dict)
    classifier: str | None = None
    recipe: dict[str, Any] | None = None
    dataset_revision: int | None = None
    trained_on_erased: bool | None = None


@dataclass(frozen=True, kw_only=True)
class RequestOrder:
    """A wish to forget; `submitted_time` is when the data subject asked (default: now).

    `include_duplicates`: whether training samples whose files equal a named one's come too.
    `plugins`: methods of third parties that workers have, besides those that are installed here.
    `approval`: whether the candidate waits for a person's word. `stated`: the wish as its caller
    put it, for recognising it when it comes again.
    `pool`: whether models that never saw a single sample may be trained to supply its targets.
    """

    model_id: uuid.UUID
    sample_ids: Sequence[str]
    subject_request_id: str | None = None
    regulation: str = "gdpr"
    submitted_time: datetime | None = None
    policy: str = "standard"
    ladder: Sequence[Rung] = DEFAULT_LADDER
    audit: str = "references"
    include_duplicates: Literal["none", "byte_equal"] = "none"
    plugins: Sequence[str] = ()
    approval: bool = False
    stated: bytes = b""
    pool: bool = False


@dataclass(frozen=True, kw_only=True)
class AuditOrder:
    """A candidate made elsewhere: its weights, the ids it claims to have forgotten, its origin."""

    model_id: uuid.UUID
    sample_ids: Sequence[str]
    weights_uri: str
    weights_sha256: str
    label: str
    base_version: int | None = None
    policy: str = "standard"


@dataclass(frozen=True, kw_only=True)
class QualificationOrder:
    """A wish to qualify a method on a model by trial erasures, dealt to the kinds in turn.

    `plugins` as in `RequestOrder`.
    """

    model_id: uuid.UUID
    method: str
    policy: str = "standard"
    trials: int = 10
    kinds: Sequence[str] = TRIAL_KINDS
    seed: int | None = None
    plugins: Sequence[str] = ()


@dataclass(frozen=True)
class CopyCounts:
    """How many copies of a request's samples are left outside its forget set.

    `near` is null until a worker has searched; `in_holdout` counts both kinds; `included` those
    that came into the forget set with the request.
    """

    byte_equal: int
    near: int | None
    in_holdout: int
    included: int = 0


class FoundCopy(NamedTuple):
    """One copy; `erased` says whether it was accepted for erasure since."""

    sample_id: str
    label: int
    split: str
    kind: Literal["byte_equal", "near"]
    erased: bool


@dataclass(frozen=True)
class Claim:
    """The right to work on a job; `attempt` is the fencing token."""

    job_id: uuid.UUID
    kind: str
    attempt: int


@dataclass(frozen=True)
class JobError:
    """Why a job failed: `transient` is tried again, `fatal` and `usage` are not."""

    kind: Literal["fatal", "transient", "usage"]
    code: str
    detail: str


class PackageRow(NamedTuple):
    """One line of the sample list that a worker hands to its child.

    Samples with the same `group` are left out of a training together; null where nothing is.
    """

    position: int
    ordinal: int
    uri: str
    sha256: str
    label: int
    role: Literal["retain", "forget", "holdout", "erased"]
    group: int | None = None


@dataclass(frozen=True)
class JobPackage:
    """All that a child may know; `samples` streams and must be read within the session."""

    spec: dict[str, Any]
    samples: Iterable[PackageRow]
    data_root: str
    cache_key: str | None


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list and where the next one starts, null at the end."""

    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True)
class SweepResult:
    """What a sweep did: jobs put back, failed, woken again, and runs planned."""

    requeued: int = 0
    failed: int = 0
    redispatched: int = 0
    planned: int = 0
