"""Metrics for Prometheus: of HTTP from this server's processes, of the ledger from the database.

Labels are route templates, methods, statuses, kinds and states: never an id of anything.
"""

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.ledger.figures import Figures

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which the processes of one server add up their counters."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)

_own = CollectorRegistry()
_requests = Counter(
    "expunge_http_requests",
    "Answered requests.",
    ("method", "route", "status"),
    registry=_own,
)
_durations = Histogram(
    "expunge_http_request_seconds",
    "Seconds from a request's headers to the end of its answer.",
    ("method", "route"),
    buckets=_SECONDS,
    registry=_own,
)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request under its route's template."""
    known = method if method in METHODS else "other"
    _requests.labels(known, route, str(status)).inc()
    _durations.labels(known, route).observe(seconds)


def exposition(figures: Figures) -> bytes:
    """Return all metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    if MULTIPROCESS in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(_Http())
    registry.register(_Ledger(figures))
    return generate_latest(registry)


class _Http(Collector):
    """What this process has counted."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families of this process's own registry."""
        yield from _own.collect()


class _Ledger(Collector):
    """The ledger's figures: gauges, and a counter of what only grows."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each kind of figure."""
        found = self._figures
        lost = CounterMetricFamily(
            "expunge_job_leases_lost",
            "Attempts whose lease ran out and whose job was taken from them.",
            labels=("kind",),
        )
        for kind, count in sorted(found.lost_leases.items()):
            lost.add_metric((kind,), count)
        yield lost
        jobs = GaugeMetricFamily("expunge_jobs", "Jobs.", labels=("kind", "status"))
        for (kind, status), count in sorted(found.jobs.items()):
            jobs.add_metric((kind, status), count)
        yield jobs
        failures = GaugeMetricFamily(
            "expunge_job_failures",
            "Failures that count against retry budgets, lost leases among them.",
            labels=("kind",),
        )
        for kind, count in sorted(found.failures.items()):
            failures.add_metric((kind,), count)
        yield failures
        requests = GaugeMetricFamily(
            "expunge_open_requests", "Open deletion requests by time left.", labels=("left",)
        )
        for left, count in found.open_requests.items():
            requests.add_metric((left,), count)
        yield requests
        for name, words, value in (
            ("expunge_jobs_silent", "Running jobs whose lease has run out.", found.silent),
            ("expunge_queue_age_seconds", "Age of the oldest job that waits.", found.queue_age_s),
            ("expunge_outbox_lag_seconds", "Age of the oldest due wake-up.", found.outbox_lag_s),
            ("expunge_outbox_due", "Wake-ups that are due.", found.outbox_due),
            ("expunge_purge_backlog", "Unneeded references.", found.unneeded_references),
            ("expunge_webhook_deliveries_due", "Deliveries that are due.", found.deliveries_due),
        ):
            yield GaugeMetricFamily(name, words, value=value)
