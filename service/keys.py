"""API keys: made once, shown once, stored as a hash; their scopes, rotation and end."""

import hashlib
import hmac
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import clock, now, set_clock
from service.errors import Conflict, InsufficientScope, InvalidCredentials, NotFound, Unprocessable
from service.ledger.log import record_event, take_turn
from service.ledger.orders import Caller, Page
from service.ledger.reading import page_of
from service.quotas import check_quota
from service.tables import ApiKey, Tenant
from service.tokens import Token, new_token, parse_token

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
ROLES = {
    "auditor": frozenset(
        {"models:read", "requests:read", "audits:read", "reports:read", "log:read"}
    ),
    "approver": frozenset({"models:read", "requests:read", "requests:approve", "reports:read"}),
    "operator": SCOPES - {"requests:approve", "keys:admin", "webhooks:admin"},
    "admin": SCOPES,
}
"""Scopes that go together. An auditor sees counts and commitments, never an id of a sample."""

_USE_RESOLUTION = timedelta(minutes=1)


def scopes_of(
    role: str | None, scopes: Collection[str] | None, *, default: frozenset[str] = SCOPES
) -> frozenset[str]:
    """Return the scopes of a role and these together; the default where neither is given.

    Raises:
        Unprocessable: code `unknown_role`.
    """
    if role is not None and role not in ROLES:
        raise Unprocessable("unknown_role", f"The roles are {', '.join(sorted(ROLES))}.")
    if role is None and not scopes:
        return default
    return ROLES.get(role or "", frozenset()) | frozenset(scopes or ())


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
    token = new_token()
    row = ApiKey(
        tenant_id=tenant_id,
        name=name,
        prefix=token.prefix,
        secret_hash=_hash(token),
        scopes=sorted(scopes),
        created_by=actor,
        created_at=now(session),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    payload = {"name": name, "prefix": token.prefix, "scopes": sorted(scopes)}
    record_event(session, tenant_id, actor, "key.created", f"keys/{row.id}", payload)
    return row, str(token)


def grant_key(
    session: Session,
    caller: Caller,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    """Make a key as the bearer of another: it can neither do more nor last longer than that one.

    Raises:
        InsufficientScope: The caller lacks one of the scopes.
        Conflict: code `quota_exceeded`.
        Unprocessable: codes `unknown_scope` and `already_expired`.
    """
    take_turn(session, caller.tenant_id)
    _refuse_more(caller, set(scopes) & SCOPES)
    if expires_at is not None and expires_at <= now(session):
        place = [{"pointer": "/expires_at", "detail": "lies in the past"}]
        raise Unprocessable("already_expired", "The key would have expired already.", place)
    alive = (ApiKey.tenant_id == caller.tenant_id, ApiKey.revoked_at.is_(None))
    check_quota(session, "keys", ApiKey, *alive)
    own = session.scalar(
        select(ApiKey.expires_at).where(*alive, ApiKey.prefix == caller.actor.removeprefix("key:"))
    )
    ends = [end for end in (expires_at, own) if end is not None]
    return create_key(
        session,
        caller.tenant_id,
        name,
        scopes,
        expires_at=min(ends, default=None),
        actor=caller.actor,
    )


def authenticate(session: Session, token: str) -> Caller:
    """Return the caller that a token stands for; note its use where the session may write.

    What has not the form of a key, or a wrong checksum, is refused without a look-up. Compares in
    constant time. The last use is noted at most once a minute.

    Raises:
        InvalidCredentials: malformed, unknown, replaced, expired or revoked.
    """
    given = parse_token(token)
    if given is None:
        raise InvalidCredentials
    query = select(ApiKey, clock(session)).where(ApiKey.prefix == given.prefix)
    row, told = session.execute(query).one_or_none() or (None, None)
    if told is not None:
        set_clock(session, told)
    moment = now(session)
    if not _opens(row, given, moment) or row is None:
        raise InvalidCredentials
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= moment):
        raise InvalidCredentials
    stale = row.last_used_at is None or row.last_used_at < moment - _USE_RESOLUTION
    if stale and session.info.get("writable"):
        row.last_used_at = moment
    return Caller(row.tenant_id, f"key:{row.prefix}", frozenset(row.scopes))


def rotate_key(
    session: Session,
    tenant_id: uuid.UUID,
    key_id: uuid.UUID,
    grace_s: float,
    *,
    caller: Caller | None = None,
) -> tuple[ApiKey, str]:
    """Give a key another secret and return it; the present one opens for `grace_s` more.

    The prefix stays, and with it who the audit log says it was. Of two rotations within the grace
    period only the last secret before this one is kept.

    Raises:
        InsufficientScope: The key can do more than the caller.
        NotFound: no such key of this tenant.
        Conflict: code `key_revoked`: it has been revoked or has expired.
    """
    take_turn(session, tenant_id)
    row = get_key(session, tenant_id, key_id)
    if caller is not None:
        _refuse_more(caller, set(row.scopes))
    moment = now(session)
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= moment):
        raise Conflict("key_revoked", "The key has been revoked or has expired.")
    token = new_token(row.prefix)
    row.previous_hash, row.secret_hash = row.secret_hash, _hash(token)
    row.previous_until, row.rotated_at = moment + timedelta(seconds=grace_s), moment
    payload = {"previous_until": row.previous_until.isoformat()}
    actor = caller.actor if caller else "system"
    record_event(session, tenant_id, actor, "key.rotated", f"keys/{row.id}", payload)
    return row, str(token)


def list_keys(session: Session, tenant_id: uuid.UUID) -> list[ApiKey]:
    """Return a tenant's keys, oldest first; none of them holds a secret."""
    return list(
        session.scalars(select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.id))
    )


def page_of_keys(session: Session, caller: Caller, cursor: str | None, limit: int) -> Page[ApiKey]:
    """Return one page of the tenant's keys, newest first."""
    return page_of(session, caller, ApiKey, cursor=cursor, limit=limit)


def get_key(session: Session, tenant_id: uuid.UUID, key_id: uuid.UUID) -> ApiKey:
    """Return a key.

    Raises:
        NotFound: no such key of this tenant.
    """
    row = session.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.tenant_id == tenant_id))
    if row is None:
        raise NotFound("key")
    return row


def revoke(
    session: Session, tenant_id: uuid.UUID, key_id: uuid.UUID, actor: str = "system"
) -> ApiKey:
    """Make a key useless from now on, both its secrets; doing so twice changes nothing.

    Raises:
        NotFound: no such key of this tenant.
    """
    row = get_key(session, tenant_id, key_id)
    if row.revoked_at is None:
        row.revoked_at = now(session)
        record_event(session, tenant_id, actor, "key.revoked", f"keys/{row.id}", {})
    return row


def _refuse_more(caller: Caller, scopes: set[str]) -> None:
    """Refuse to hand out what the caller does not have."""
    for scope in sorted(scopes - caller.scopes):
        raise InsufficientScope(scope)


def _opens(row: ApiKey | None, token: Token, moment: datetime) -> bool:
    """Compare with both secrets of a row, or with nothing, in the same time."""
    hashed = _hash(token)
    present = hmac.compare_digest(row.secret_hash if row else bytes(32), hashed)
    before = hmac.compare_digest((row and row.previous_hash) or bytes(32), hashed)
    until = row.previous_until if row else None
    return present or (before and until is not None and until > moment)


def _hash(token: Token) -> bytes:
    """Hash plainly: with 238 random bits there is nothing for a slow hash to protect."""
    return hashlib.sha256(token.secret.encode()).digest()
