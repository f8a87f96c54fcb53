"""Traces from the call to YouTube over the projection to the event, by OpenTelemetry; off unless they are asked for.

They are on in a process whose environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT` or the one for traces) and
that has the `tracing` requirements. Sampling and the rest follow OpenTelemetry's own variables. A trace goes from one
service to the next in the `traceparent` header of the records (W3C Trace Context, level 1), whoever writes it.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from contract.events import TRACEPARENT
from contract.version import VERSION
from ops.logging import get_logger

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SCOPE: Final = "yousync"

_log = get_logger(__name__)
_on = False
"""Whether this process has traces; off, nothing here imports OpenTelemetry."""


def asked_for(environment: Mapping[str, str]) -> bool:
    """Whether an environment names a collector, and does not switch OpenTelemetry off."""
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not off and any(environment.get(name) for name in _ENDPOINTS)


@contextmanager
def traces(service: str) -> Iterator[None]:
    """Traces within the block, if they are asked for; what is under way is sent at its end."""
    global _on  # noqa: PLW0603 - one switch a process, as OpenTelemetry's own tracer provider
    if not asked_for(os.environ):
        yield
        return
    try:
        from opentelemetry import trace  # noqa: PLC0415 - what is off is not imported, and need not be installed
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        _log.warning("no traces: install the `tracing` requirements, or unset the variable", variable=_ENDPOINTS[0])
        yield
        return
    resource = Resource.create({"service.namespace": "yousync", "service.name": service, "service.version": VERSION})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _on = True
    _log.info("traces are on", service=service)
    try:
        yield
    finally:
        _on = False
        provider.shutdown()


@contextmanager
def fetching(call: str) -> Iterator[None]:
    """A call to YouTube and all that follows from its answer: the root of a trace, current within the block."""
    if not _on:
        yield
        return
    from opentelemetry import trace  # noqa: PLC0415

    tracer = trace.get_tracer(_SCOPE)
    with tracer.start_as_current_span(f"fetch {call}", kind=trace.SpanKind.CLIENT, attributes={"yousync.call": call}):
        yield


def carried() -> tuple[tuple[str, bytes], ...]:
    """The headers that carry the current trace on; none where there is no trace."""
    if not _on:
        return ()
    from opentelemetry import trace  # noqa: PLC0415

    found = _traceparent_of(trace.get_current_span())
    return () if found is None else ((TRACEPARENT, found.encode()),)


@contextmanager
def projecting(topic: str, parents: Sequence[str | None], began_ns: int) -> Iterator[list[str | None]]:
    """Spans of what came of records: projected from `began_ns` until now, sent to a topic within the block.

    Gives, for each parent's `traceparent`, the one to hand on: the same where traces are off, None where there is none.
    """
    if not _on or not any(parents):
        yield list(parents)
        return
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    tracer, read = trace.get_tracer(_SCOPE), TraceContextTextMapPropagator().extract
    sends: list[Span | None] = []
    for parent in parents:
        if parent is None:
            sends.append(None)
            continue
        projected = tracer.start_span(
            "project", read({TRACEPARENT: parent}), kind=trace.SpanKind.CONSUMER, start_time=began_ns
        )
        projected.end()
        sends.append(
            tracer.start_span(
                f"send {topic}",
                trace.set_span_in_context(projected),
                kind=trace.SpanKind.PRODUCER,
                attributes={"messaging.system": "kafka", "messaging.destination.name": topic},
            )
        )
    try:
        yield [None if span is None else _traceparent_of(span) for span in sends]
    finally:
        for span in sends:
            if span is not None:
                span.end()


def _traceparent_of(span: "Span") -> str | None:
    """What stands for a span in a header; None for one of no trace."""
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    written: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(written, trace.set_span_in_context(span))
    return written.get(TRACEPARENT)
