"""API keys `ex_live_<prefix>_<secret>`: made once, shown once, stored as a hash."""

import hashlib
import hmac
import secrets
import string
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import now
from service.errors import InvalidCredentials, NotFound, Unprocessable
from service.ledger.log import record_event
from service.ledger.orders import Caller
from service.tables import ApiKey, Tenant

SCOPES = frozenset(
    {
        "datasets:read",
        "datasets:write",
        "models:read",
        "models:write",
        "requests:read",
        "requests:write",
        "requests:approve",
        "audits:read",
        "audits:write",
        "reports:read",
        "log:read",
        "keys:admin",
        "webhooks:admin",
    }
)

_ALPHABET = string.ascii_letters + string.digits
_USE_RESOLUTION = timedelta(minutes=1)


def ensure_tenant(session: Session, name: str = "default") -> Tenant:
    """Return the tenant of that name, made now if there is none."""
    tenant = session.scalar(select(Tenant).where(Tenant.name == name))
    if tenant is None:
        tenant = Tenant(name=name, created_at=now(session))
        session.add(tenant)
        session.flush()
        record_event(session, tenant.id, "system", "tenant.created", f"tenants/{tenant.id}", {})
    return tenant


def create_key(
    session: Session,
    tenant_id: uuid.UUID,
    name: str,
    scopes: Collection[str] = SCOPES,
    *,
    expires_at: datetime | None = None,
    actor: str = "system",
) -> tuple[ApiKey, str]:
    """Make a key and return its row with the token, which cannot be had again.

    Raises:
        Unprocessable: code `unknown_scope`.
    """
    unknown = sorted(set(scopes) - SCOPES)
    if unknown:
        raise Unprocessable("unknown_scope", f"There is no scope {', '.join(unknown)}.")
    prefix, secret = _random(10), _random(40)
    row = ApiKey(
        tenant_id=tenant_id,
        name=name,
        prefix=prefix,
        secret_hash=_hash(secret),
        scopes=sorted(scopes),
        created_at=now(session),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    payload = {"name": name, "prefix": prefix, "scopes": sorted(scopes)}
    record_event(session, tenant_id, actor, "key.created", f"keys/{row.id}", payload)
    return row, f"ex_live_{prefix}_{secret}"


def authenticate(session: Session, token: str) -> Caller:
    """Return the caller that a token stands for; note its use where the session may write.

    Compares in constant time. The last use is noted at most once a minute.

    Raises:
        InvalidCredentials: malformed, unknown, expired or revoked.
    """
    parts = token.split("_")
    if len(parts) != 4 or parts[:2] != ["ex", "live"]:
        raise InvalidCredentials
    row = session.scalar(select(ApiKey).where(ApiKey.prefix == parts[2]))
    known = hmac.compare_digest(row.secret_hash if row else bytes(32), _hash(parts[3]))
    if row is None or not known or row.revoked_at is not None:
        raise InvalidCredentials
    if row.expires_at is not None and row.expires_at <= now(session):
        raise InvalidCredentials
    if session.info.get("writable"):
        moment = now(session)
        if row.last_used_at is None or row.last_used_at < moment - _USE_RESOLUTION:
            row.last_used_at = moment
    return Caller(row.tenant_id, f"key:{row.prefix}", frozenset(row.scopes))


def list_keys(session: Session, tenant_id: uuid.UUID) -> list[ApiKey]:
    """Return a tenant's keys, oldest first; none of them holds a secret."""
    return list(
        session.scalars(select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.id))
    )


def revoke(
    session: Session, tenant_id: uuid.UUID, key_id: uuid.UUID, actor: str = "system"
) -> ApiKey:
    """Make a key useless from now on; doing so twice changes nothing.

    Raises:
        NotFound: no such key of this tenant.
    """
    row = session.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.tenant_id == tenant_id))
    if row is None:
        raise NotFound("key")
    if row.revoked_at is None:
        row.revoked_at = now(session)
        record_event(session, tenant_id, actor, "key.revoked", f"keys/{row.id}", {})
    return row


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _hash(secret: str) -> bytes:
    """Hash plainly: with 238 random bits there is nothing for a slow hash to protect."""
    return hashlib.sha256(secret.encode()).digest()
