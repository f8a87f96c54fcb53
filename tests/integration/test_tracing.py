"""One trace from the call to YouTube over the projection to the event, as a collector is told of it."""

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from contract.events import TRACEPARENT, read_traceparent
from contract.topics import VIDEOS
from tests.conftest import MakeServers
from tests.producer_stage import Stage, producer_stage, read_topic
from tests.served import served
from tests.service_process import ServiceProcess, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PARTITIONS = 4
SEND = f"send {VIDEOS}"


class Collector(ThreadingHTTPServer):
    """Takes spans over OTLP's HTTP as a collector does; `spans` are pairs of service and span."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Export)
        self.spans: list[tuple[str, Span]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, service: str, beginning: str) -> dict[bytes, Span]:
        """Spans by their id."""
        return {s.span_id: s for of, s in list(self.spans) if of == service and s.name.startswith(beginning)}


class _Export(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        told = ExportTraceServiceRequest()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told.ParseFromString(body)
        for resource in told.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans += [(named["service.name"], span) for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: what is said here is not the run's."""


@pytest.fixture
def on_stage(make_servers: MakeServers, tmp_path: Path) -> Iterator[Stage]:
    with producer_stage(make_servers(), tmp_path, backlog=20) as running:
        yield running


def test_a_trace_goes_from_fetch_to_projection_to_event(on_stage: Stage, tmp_path: Path) -> None:
    with on_stage.producer() as untraced:
        on_stage.wait_until_complete(untraced)
        assert untraced.terminate() == 0
    before = len(on_stage.raw())
    assert not [name for record in on_stage.raw() for name, _ in record.headers if name == TRACEPARENT]

    with served(Collector()) as collected:
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        kafka, mongodb = on_stage.servers.kafka_bootstrap, on_stage.servers.mongodb_uri
        settings = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "MONGODB_URI": mongodb, **traced}
        with on_stage.producer(**traced) as producer, ServiceProcess("processor", tmp_path, settings) as processor:
            wait_for(
                lambda: bool(collected.named("processor", SEND)), 120, lambda: f"{producer.tail()}\n{processor.tail()}"
            )
            assert producer.terminate() == 0
            assert processor.terminate() == 0

    assert {read_traceparent(record.headers) for record in on_stage.raw()[before:]} - {None}
    fetches = collected.named("producer", "fetch ")
    projections, sends = collected.named("processor", "project"), collected.named("processor", SEND)
    for send in sends.values():
        projection = projections[send.parent_span_id]
        fetch = fetches[projection.parent_span_id]
        assert send.trace_id == projection.trace_id == fetch.trace_id
        assert not fetch.parent_span_id
        began = [span.start_time_unix_nano for span in (fetch, projection, send)]
        assert began == sorted(began)
        assert projection.end_time_unix_nano <= send.end_time_unix_nano
    events = asyncio.run(read_topic(kafka, VIDEOS, PARTITIONS))
    carried = [read_traceparent(record.headers) for record in events]
    # Without the flags, of which there is one more in later levels of the standard.
    assert {one[:-2] for one in carried if one} == {f"00-{s.trace_id.hex()}-{s.span_id.hex()}-" for s in sends.values()}
