"""What a collector was sent, read back: spans with the process that made them."""

from collections.abc import Iterable
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.service.receiver import Receiver

TRACES = "/v1/traces"


@dataclass(frozen=True)
class Seen:
    """One span: ids in hex as in a traceparent, kind and attributes by their names."""

    process: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: dict[str, object]
    failed: bool

    @property
    def traceparent(self) -> str:
        """The context that it passes on."""
        return f"00-{self.trace_id}-{self.span_id}-01"


def endpoint(collector: Receiver) -> str:
    """Return what EXPUNGE_OTLP_ENDPOINT has to be."""
    return f"http://127.0.0.1:{collector.port}"


def collected(collector: Receiver) -> list[Seen]:
    """Return all spans that a collector has been sent, those of one process in their order."""
    found = []
    for call in collector.calls:
        assert call.path == TRACES
        for resource in ExportTraceServiceRequest.FromString(call.body).resource_spans:
            process = str(_values(resource.resource.attributes)["service.name"])
            for scope in resource.scope_spans:
                found += [_seen(process, span) for span in scope.spans]
    return found


def _seen(process: str, span: Span) -> Seen:
    assert not span.events  # an exception's text would be one
    assert not span.status.message
    return Seen(
        process,
        span.name,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        tuple(link.span_id.hex() for link in span.links),
        _values(span.attributes),
        span.status.code == Status.STATUS_CODE_ERROR,
    )


def _values(attributes: Iterable[KeyValue]) -> dict[str, object]:
    return {
        pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in attributes
    }
