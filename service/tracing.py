"""Spans for OpenTelemetry, sent to the collector that the operator names; none without one.

A call's span is the child of the caller's `traceparent` and takes its place in `service.origins`,
so that wake-ups and attempts at jobs join its trace. Attributes are route templates, methods,
statuses, kinds, outcomes and ids of jobs and runs: never a path, query, name, key or sample id.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # OpenTelemetry is an extra, and loaded only where it is used
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

    from service.config import Settings

CLOSE_S = 5.0
EXPORT_TIMEOUT_S = 5.0
_PATH = "/v1/traces"
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")

Kind = Literal["server", "producer", "consumer", "internal"]


class Span:
    """Something that is being done; unrecorded where tracing is off.

    Attributes:
        traceparent: The W3C trace context of what this causes: the span's own, or where tracing is
            off its parent's.
    """

    def __init__(self, traceparent: str | None, recorded: "trace.Span | None" = None) -> None:
        self.traceparent = traceparent
        self._recorded = recorded

    def tell(self, attributes: Mapping[str, str | int | None]) -> None:
        """Add attributes; nulls are left out."""
        if self._recorded is not None:
            known = {name: value for name, value in attributes.items() if value is not None}
            self._recorded.set_attributes(known)

    def rename(self, name: str) -> None:
        """Take a name that was not known at the start."""
        if self._recorded is not None:
            self._recorded.update_name(name)

    def fail(self, what: str) -> None:
        """Count as an error of a class that `what` names; its words stay out of the span."""
        if self._recorded is not None:
            from opentelemetry.trace import StatusCode

            self._recorded.set_status(StatusCode.ERROR)
            self._recorded.set_attribute("error.type", what)


class Tracing:
    """The spans of one process: none before its start, after its end and without an endpoint.

    A collector that cannot be reached costs no call anything: spans are sent by a thread of their
    own, in batches, and dropped where they become too many.
    """

    def __init__(self) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: trace.Tracer | None = None

    def start(self, settings: "Settings", process: str) -> None:
        """Begin to make spans if the settings name a collector.

        Args:
            settings: Name the collector, as a URL without the path of its traces.
            process: What the service is called in traces, like `expunge-api`.
        """
        if not settings.otlp_endpoint:
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = {"service.name": process, "service.version": version("expunge")}
        provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(settings.otlp_endpoint + _PATH, timeout=EXPORT_TIMEOUT_S)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        self.use(provider)

    def use(self, provider: "TracerProvider") -> None:
        """Make the spans of this provider, and shut it down at the end."""
        self._provider = provider
        self._tracer = provider.get_tracer("expunge", version("expunge"))

    def close(self) -> None:
        """Send what is left, for `CLOSE_S` seconds at most."""
        if self._provider is not None:
            last = Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
            last.start()
            last.join(CLOSE_S)
        self._provider = self._tracer = None

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind = "internal",
        parent: str | None = None,
        link: str | None = None,
    ) -> Iterator[Span]:
        """Let what the block does be a span; an exception counts as its error, by class alone.

        Args:
            name: A fixed text, or one of few.
            kind: `internal`: a part of the span that is open in this context.
            parent: For the other kinds, the trace context of what caused this.
            link: The trace context of a message that led here.
        """
        if self._tracer is None:
            yield Span(parent)
            return
        from opentelemetry.trace import Link, SpanKind, get_current_span

        linked = get_current_span(_context_of(link)).get_span_context()
        with self._tracer.start_as_current_span(
            name,
            context=None if kind == "internal" else _context_of(parent),
            kind=SpanKind[kind.upper()],
            links=[Link(linked)] if linked.is_valid and link != parent else [],
            record_exception=False,  # its text may hold anything
            set_status_on_exception=False,
        ) as recorded:
            made = Span(_traceparent_of(recorded), recorded)
            try:
                yield made
            except BaseException as error:
                made.fail(type(error).__qualname__)
                raise


def tracing_installed() -> bool:
    """Say whether the extra `otel` is installed."""
    try:
        return all(find_spec(name) is not None for name in _NEEDED)
    except ModuleNotFoundError:  # not even the package around it
        return False


OFF = Tracing()
"""Makes no spans; never to be started."""


def _context_of(traceparent: str | None) -> "Context":
    """Return a context with this span alone, empty for one of another form."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _traceparent_of(span: "trace.Span") -> str | None:
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span))
    return carrier.get("traceparent")
