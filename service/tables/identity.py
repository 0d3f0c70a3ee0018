"""Who may call: tenants and their API keys."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import Base, JsonList, Key, TenantKey


class Tenant(Base):
    """One customer; nothing is ever shared between two."""

    __tablename__ = "tenants"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A key by its public prefix and the SHA-256 of its secret; the secret itself is never kept.

    `previous_hash`: of the secret before the last rotation, which opens until `previous_until`.
    """

    __tablename__ = "api_keys"

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    secret_hash: Mapped[bytes]
    previous_hash: Mapped[bytes | None]
    previous_until: Mapped[datetime | None]
    rotated_at: Mapped[datetime | None]
    scopes: Mapped[JsonList]
    created_by: Mapped[str] = mapped_column(server_default="system")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
