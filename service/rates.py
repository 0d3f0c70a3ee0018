"""How often a key and a tenant may call: moving windows, counted in Redis where there is one.

After draft-ietf-httpapi-ratelimit-headers. Calls that read and calls that change something are
counted apart, each by key and by tenant. While Redis is away every process counts for itself, so
that an outage of the counter refuses nobody; decision 0022.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import MovingWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.broker import REDIS
from service.config import Settings
from service.errors import ServiceError
from service.ledger import Caller

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
TIMEOUT_S = 0.5
AWAY_S = 5.0
_log = structlog.get_logger("service.rates")


class RateLimited(ServiceError):
    """A call too many; `retry_after` in whole seconds."""

    def __init__(self, policy: str, retry_after: int) -> None:
        detail = f"The limit {policy} is used up; wait {retry_after} s."
        violated: dict[str, Any] = {"violated-policies": [policy]}
        super().__init__(429, "rate_limited", detail, retry_after=retry_after, **violated)


@dataclass(frozen=True)
class Policy:
    """At most `item.amount` calls of one key or one tenant within the window."""

    name: str
    item: RateLimitItem

    @property
    def field(self) -> str:
        """The entry of the header `RateLimit-Policy`."""
        return f'"{self.name}";q={self.item.amount};w={self.item.get_expiry()}'


@dataclass(frozen=True)
class Rate:
    """What is left of the tightest policy, and the policies of the call."""

    policies: Sequence[Policy]
    tightest: str
    remaining: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        """The two headers, as structured fields."""
        left = f'"{self.tightest}";r={self.remaining};t={self.reset_s}'
        policies = ", ".join(policy.field for policy in self.policies)
        return {"RateLimit-Policy": policies, "RateLimit": left}


class RateLimiter:
    """Counts calls; `spend` is safe to call from many threads."""

    def __init__(self, settings: Settings) -> None:
        window = settings.rate_window_s
        self._policies = {
            kind: [
                Policy(f"{owner}-{kind}", RateLimitItemPerSecond(amount, window))
                for owner in ("key", "tenant")
                if (amount := getattr(settings, f"rate_{owner}_{kind}")) > 0
            ]
            for kind in ("reads", "writes")
        }
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._shared = _shared(settings)
        self._away_until = 0.0
        self._lock = threading.Lock()

    def spend(self, caller: Caller, method: str) -> tuple[Rate | None, RateLimited | None]:
        """Count one call; return what is left, None without limits, and the refusal if any."""
        policies = self._policies["reads" if method in SAFE else "writes"]
        if not policies:
            return None, None
        if self._shared is not None and time.monotonic() >= self._away_until:
            try:
                found = _spend(self._shared, policies, caller)
            except (StorageError, OSError) as error:
                self._note_away(error)
            else:
                self._note_back()
                return found
        return _spend(self._local, policies, caller)

    def _note_away(self, error: Exception) -> None:
        with self._lock:
            if not self._away_until:
                cause = type(error.__cause__ or error).__name__
                _log.warning("rate limits are counted by this process alone", error=cause)
            self._away_until = time.monotonic() + AWAY_S

    def _note_back(self) -> None:
        if self._away_until:
            with self._lock:
                self._away_until = 0.0
            _log.info("rate limits are counted together again")


def _shared(settings: Settings) -> MovingWindowRateLimiter | None:
    url = settings.rate_limits_url
    if not url and settings.broker_url.partition("://")[0] in REDIS - {"sentinel"}:
        url = settings.broker_url
    if not url:
        return None
    storage = storage_from_string(
        url,
        wrap_exceptions=True,
        key_prefix="expunge:rates",
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # passed on to redis-py as it is
    )
    return MovingWindowRateLimiter(storage)


def _spend(
    limiter: MovingWindowRateLimiter, policies: Sequence[Policy], caller: Caller
) -> tuple[Rate, RateLimited | None]:
    names = [
        caller.actor if policy.name.startswith("key-") else str(caller.tenant_id)
        for policy in policies
    ]
    spent = None
    for policy, name in zip(policies, names, strict=True):
        if not limiter.hit(policy.item, name):
            spent = policy
            break
    shown = spent or policies[0]
    stats = limiter.get_window_stats(shown.item, names[policies.index(shown)])
    wait = max(1, math.ceil(stats.reset_time - time.time()))
    rate = Rate(policies, shown.name, 0 if spent else stats.remaining, wait)
    return rate, RateLimited(shown.name, wait) if spent else None
