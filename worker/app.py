"""The Celery application of the workers.

The database is the queue and a message only a wake-up, so messages are JSON, acknowledged late and
carry a job's id alone; there is no result backend. The worker runs
``-P threads -c 1 --without-gossip --without-mingle``: the one thread supervises a child process.
"""

import ctypes
import sys
from typing import Any

import structlog
from celery import Celery
from celery.signals import (
    heartbeat_sent,
    setup_logging,
    worker_init,
    worker_shutdown,
    worker_shutting_down,
)

from service.broker import configure
from service.config import Settings, get_settings
from service.logs import configure_logging
from service.methods import clashing_plugins
from service.pulse import beat
from service.signing import SigningKeyError
from worker.runtime import Runtime

POLLING_INTERVAL_S = 0.1
_PR_SET_DUMPABLE = 4


def make_app(settings: Settings) -> Celery:
    """Make the workers' application; only the settings tell one broker from another."""
    made = configure(Celery("expunge.worker", include=["worker.tasks"]), settings)
    if settings.broker_url.startswith("filesystem"):
        options = made.conf.broker_transport_options
        made.conf.broker_transport_options = options | {"polling_interval": POLLING_INTERVAL_S}
    return made


app = make_app(get_settings())
_runtimes: list[Runtime] = []


def current_runtime() -> Runtime:
    """Return what this worker keeps between jobs; there is one between start and shutdown."""
    return _runtimes[-1]


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:  # noqa: ANN401 - Celery's own arguments
    configure_logging(get_settings())


@worker_init.connect
def _open(**_: Any) -> None:  # noqa: ANN401
    if clashes := clashing_plugins():
        sys.exit(
            f"Installed plug-ins have the names of Expunge's own methods: {', '.join(clashes)}."
            " Uninstall them or have their entry points renamed (docs/plugins.md)."
        )
    try:
        _runtimes.append(Runtime.open(get_settings()))
    except SigningKeyError as error:
        sys.exit(f"This worker cannot sign reports. {error}")
    _hide_memory()
    structlog.get_logger("worker").info("worker started", owner=current_runtime().owner)


@heartbeat_sent.connect
def _beat(**_: Any) -> None:  # noqa: ANN401
    """Show every two seconds that the consumer lives and is connected to the broker."""
    for runtime in _runtimes:
        beat(runtime.settings.pulse_file)


@worker_shutting_down.connect
def _stop(**_: Any) -> None:  # noqa: ANN401
    for runtime in _runtimes:
        runtime.stopping.set()


@worker_shutdown.connect
def _close(**_: Any) -> None:  # noqa: ANN401
    while _runtimes:
        _runtimes.pop().close()


def _hide_memory() -> None:
    """Keep a child of the same user from reading this process's memory and environment.

    Both hold credentials; Linux only, and without effect for root, who may read everything.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
