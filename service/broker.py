"""The Celery side of the service: it sends wake-ups `{job_id}` and never waits for an answer.

The database is the queue; a message only says that there is work. A lost one is sent again by the
sweep, a doubled one finds the job already claimed.
"""

import uuid
from collections.abc import Callable

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from service.config import Settings
from service.tracing import OFF, Tracing

QUEUE = "expunge.jobs"
TASK_NAME = "expunge.run_job"
HEADER = "expunge"
LOG_HEADERS = ("request_id", "traceparent", "run_id")
MESSAGING = {"messaging.system": "celery", "messaging.destination.name": QUEUE}
JOB_ID = "expunge.job.id"
CONNECT_TIMEOUT_S = 3.0
SEND_TIMEOUT_S = 5.0
REDIS = frozenset({"redis", "rediss", "sentinel"})
SENDER_OPTIONS = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


def configure(app: Celery, settings: Settings) -> Celery:
    """Give a Celery application the settings that service and worker share, and return it."""
    app.conf.update(
        broker_url=settings.broker_url,
        broker_transport_options=_transport_options(settings),
        broker_connection_retry_on_startup=True,
        broker_pool_acquire_timeout=10,
        result_backend=None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=QUEUE,
        task_create_missing_queues=True,
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        task_reject_on_worker_lost=True,  # harmless: the claim decides
        task_publish_retry=False,  # the outbox keeps what could not be sent
        visibility_timeout=settings.visibility_s,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        enable_utc=True,
    )
    return app


def celery_app(settings: Settings, name: str = "expunge") -> Celery:
    """Make a Celery application that can send wake-ups, and gives up soon when it cannot."""
    app = configure(Celery(name, set_as_current=False), settings)
    app.conf.broker_transport_options |= SENDER_OPTIONS
    if _scheme(settings) in REDIS:
        # a sender holds the outbox's rows, so a broker that hangs must not hold it for ever
        limits = {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": SEND_TIMEOUT_S}
        app.conf.broker_transport_options |= limits
    return app


def wake_up(app: Celery, tracing: Tracing = OFF) -> Callable[[uuid.UUID], None]:
    """Return the function that `ledger.dispatch` sends with: messages hold a job's id alone.

    Their headers hold what logs are joined by: run and HTTP call, as bound to the context. Where
    spans are made the trace context is the message's own.
    """

    def send(job_id: uuid.UUID) -> None:
        bound = structlog.contextvars.get_contextvars()
        headers = {name: bound[name] for name in LOG_HEADERS if name in bound}
        with tracing.span(f"send {QUEUE}", "producer", bound.get("traceparent")) as span:
            span.tell({**MESSAGING, "messaging.operation.type": "send", JOB_ID: str(job_id)})
            if span.traceparent is not None:
                headers["traceparent"] = span.traceparent
            app.send_task(
                TASK_NAME,
                kwargs={"job_id": str(job_id)},
                headers={HEADER: headers},
                queue=QUEUE,
                ignore_result=True,
            )

    return send


def broker_ready(app: Celery) -> bool:
    """Say whether the broker can be reached within a few seconds."""
    try:
        with app.connection_for_write(connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_TIMEOUT_S)
            connection.default_channel.close()
    except (OperationalError, OSError):
        return False
    return True


def _scheme(settings: Settings) -> str:
    return settings.broker_url.partition(":")[0].partition("+")[0]


def _transport_options(settings: Settings) -> dict[str, object]:
    """Return what the transport of this broker URL takes."""
    if _scheme(settings) == "filesystem":
        folder = settings.home / "broker"
        for name in ("queue", "control", "processed"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
            "processed_folder": str(folder / "processed"),
            "store_processed": False,
        }
    if _scheme(settings) in REDIS:
        return {
            # a job that runs longer is announced again: harmless, its claim is held
            "visibility_timeout": settings.visibility_s,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "global_keyprefix": "expunge:",
        }
    return {}
