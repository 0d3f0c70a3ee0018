"""Send webhooks (Standard Webhooks 1.0.0) and OpenDSR callbacks, at least once each.

The loop claims messages in one short transaction, calls without any, and writes each outcome in
another. Threads call at once; a slow receiver holds up only what is meant for it.
"""

import base64
import hashlib
import hmac
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from importlib.metadata import version

import structlog

from service.config import Settings
from service.database import Database
from service.ledger.announcing import CALLBACK
from service.ledger.deliveries import (
    Outcome,
    Parcel,
    any_due,
    claim_deliveries,
    purge_deliveries,
    record_outcome,
)
from service.opendsr import OpendsrNotReady, OpendsrSigner
from service.outgoing import CallFailed, Outgoing
from service.sealing import PepperError, SealBroken, load_sealer

PURPOSE = "webhooks"
THREADS = 16
LEASE_MARGIN_S = 30.0
PURGE_INTERVAL_S = 3600.0
PURGE_LIMIT = 1000
_log = structlog.get_logger("service.webhooks")


def message_id(delivery_id: uuid.UUID) -> str:
    """Return the `webhook-id` of a message: the same at every attempt and replay."""
    return f"msg_{delivery_id.hex}"


def sign(secrets: Sequence[bytes], message: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature`: one `v1` HMAC-SHA256 for each secret, in base64."""
    signed = f"{message}.{timestamp}.".encode() + body
    made = [hmac.digest(secret, signed, hashlib.sha256) for secret in secrets]
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in made)


def retry_after_s(text: str, clock: float | None = None) -> float:
    """Return the seconds that a `Retry-After` asks for, 0 where it makes no sense."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, moment - (time.time() if clock is None else clock))


class Courier:
    """Claims what is due, calls, and tells the ledger what became of it.

    Args:
        settings: Of this installation.
        database: Where the messages lie.
        outgoing: How calls are made; default: by the settings.
    """

    def __init__(
        self, settings: Settings, database: Database, outgoing: Outgoing | None = None
    ) -> None:
        self._settings = settings
        self._database = database
        self._outgoing = outgoing or Outgoing.from_settings(settings)
        self._lease_s = settings.outgoing_timeout_s + LEASE_MARGIN_S
        self._under_way: dict[Future[None], Parcel] = {}

    def run(self, stop: threading.Event) -> None:
        """Deliver until told to stop; calls that are under way are ended first."""
        purge_at = 0.0
        with ThreadPoolExecutor(THREADS, thread_name_prefix="courier") as pool:
            while not stop.is_set():
                try:
                    started = self.start_due(pool)
                    if time.monotonic() >= purge_at:
                        self._purge()
                        purge_at = time.monotonic() + PURGE_INTERVAL_S
                except Exception as error:  # noqa: BLE001 - the database may be away for a while
                    _log.error("webhooks wait", error=type(error).__name__)
                    started = 0
                stop.wait(0.0 if started else self._settings.dispatch_interval_s)

    def start_due(self, pool: ThreadPoolExecutor) -> int:
        """Start calls for what is due as far as threads are free; return how many."""
        for done in [call for call in self._under_way if call.done()]:
            parcel = self._under_way.pop(done)
            if error := done.exception():
                _log.error(
                    "outcome lost", delivery=str(parcel.delivery_id), error=type(error).__name__
                )
        free = THREADS - len(self._under_way)
        if not free:
            return 0
        with self._database.read() as session:
            if not any_due(session):  # the usual case takes no write lock
                return 0
        busy = {parcel.channel for parcel in self._under_way.values()}
        with self._database.write() as session:
            parcels = claim_deliveries(session, free, self._lease_s, busy)
        for parcel in parcels:
            self._under_way[pool.submit(self.deliver, parcel)] = parcel
        return len(parcels)

    def deliver(self, parcel: Parcel) -> None:
        """Make one call and write down its outcome."""
        outcome = self._call(parcel)
        with self._database.write() as session:
            record_outcome(session, parcel, outcome)
        _log.info(
            "webhook",
            delivery=str(parcel.delivery_id),
            endpoint=None if parcel.endpoint_id is None else str(parcel.endpoint_id),
            event_type=parcel.event_type,
            attempt=parcel.attempt,
            status=outcome.status_code,
            error=outcome.error,
            milliseconds=outcome.milliseconds,
        )

    def _call(self, parcel: Parcel) -> Outcome:
        started = time.monotonic()
        try:
            body, headers = self._message(parcel)
            answer = self._outgoing.post(parcel.url, body, headers)
        except CallFailed as error:
            return Outcome(_milliseconds(started), error=error.code)
        except (PepperError, SealBroken):
            return Outcome(_milliseconds(started), error="secret_unreadable")
        except OpendsrNotReady:
            return Outcome(_milliseconds(started), error="opendsr_not_ready")
        return Outcome(
            _milliseconds(started),
            status_code=answer.status,
            retry_after_s=retry_after_s(answer.headers.get("retry-after", "")),
        )

    def _message(self, parcel: Parcel) -> tuple[bytes, dict[str, str]]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Expunge/{version('expunge')}",
        }
        if parcel.event_type == CALLBACK:
            signer = OpendsrSigner.from_settings(self._settings)
            body = signer.callback(parcel.body, str(parcel.tenant_id), parcel.url)
            return body, headers | signer.headers(body)
        sealer = load_sealer(self._settings, PURPOSE)
        owner = parcel.endpoint_id.bytes if parcel.endpoint_id is not None else b""
        secrets = [sealer.open(sealed, owner) for sealed in parcel.secrets]
        message, timestamp = message_id(parcel.delivery_id), int(time.time())
        return parcel.body, headers | {
            "Webhook-Id": message,
            "Webhook-Timestamp": str(timestamp),
            "Webhook-Signature": sign(secrets, message, timestamp, parcel.body),
        }

    def _purge(self) -> None:
        removed = PURGE_LIMIT
        while removed == PURGE_LIMIT:
            with self._database.write() as session:
                kept_days = self._settings.webhooks_kept_days
                removed = purge_deliveries(session, kept_days, PURGE_LIMIT)


def _milliseconds(started: float) -> int:
    return round(1000 * (time.monotonic() - started))
