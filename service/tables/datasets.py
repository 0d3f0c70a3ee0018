"""Data sets, their samples and which of them were accepted for erasure."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import Base, JsonList, Key, TenantKey


class Dataset(Base):
    """D and H in their newest revision; each revision has a row of its own that never changes.

    `fingerprint`: SHA-256 over the sorted (sample_id, content sha256, label); of a later revision,
    over the fingerprint of the one before and that of what was added. `train_ordinals` and
    `holdout_ordinals`: bitmaps.
    """

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    name: Mapped[str]
    manifest_uri: Mapped[str]
    format: Mapped[str] = mapped_column(String(32))
    root: Mapped[str]
    class_names: Mapped[JsonList]
    fingerprint: Mapped[str] = mapped_column(String(64))
    num_train: Mapped[int]
    num_holdout: Mapped[int]
    train_ordinals: Mapped[bytes]
    holdout_ordinals: Mapped[bytes]
    revision: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime]


class DatasetRevision(Base):
    """D and H of one revision, from 1: all samples of the one before, and those added with it.

    `manifest_uri` and `format` are those of what was added; the other fields as in `Dataset`.
    """

    __tablename__ = "dataset_revisions"

    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[TenantKey]
    manifest_uri: Mapped[str]
    format: Mapped[str] = mapped_column(String(32))
    fingerprint: Mapped[str] = mapped_column(String(64))
    num_train: Mapped[int]
    num_holdout: Mapped[int]
    train_ordinals: Mapped[bytes]
    holdout_ordinals: Mapped[bytes]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class Sample(Base):
    """One row of a manifest; `ordinal` is its place, from 0, counted on through the revisions."""

    __tablename__ = "samples"
    __table_args__ = (
        UniqueConstraint("dataset_id", "sample_id"),
        Index(None, "dataset_id", "label", "ordinal"),
        Index(None, "dataset_id", "subject_id", "ordinal"),
        Index(None, "dataset_id", "sha256"),
    )

    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[uuid.UUID]
    sample_id: Mapped[str]
    label: Mapped[int]
    split: Mapped[str] = mapped_column(String(8))
    uri: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    subject_id: Mapped[str | None]


class Tombstones(Base):
    """E: every ordinal of a data set ever accepted for erasure. It only grows.

    `dropped`: those of E whose rows in `samples` are gone, null while there are none.
    """

    __tablename__ = "tombstones"

    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    tenant_id: Mapped[TenantKey]
    ordinals: Mapped[bytes]
    count: Mapped[int]
    dropped: Mapped[bytes | None]
    updated_at: Mapped[datetime]
