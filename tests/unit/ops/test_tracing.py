"""When there are traces, and what is done without them."""

import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from contract.events import read_traceparent
from ops import tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({ENDPOINT: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_a_collector_is_what_asks_for_traces(environment: dict[str, str], asked: bool) -> None:
    assert tracing.asked_for(environment) is asked


def test_without_traces_a_parent_is_handed_on_and_nothing_is_carried() -> None:
    with tracing.traces("producer"), tracing.fetching("search"):
        assert tracing.carried() == ()
    with tracing.projecting("youtube.videos", [PARENT, None], 0) as handed_on:
        assert handed_on == [PARENT, None]


def test_what_is_off_is_not_imported() -> None:
    program = "import sys, ops.tracing, producer.service, processors.service; sys.exit('opentelemetry' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_traces_that_cannot_be_had_are_named_and_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with capture_logs() as said, tracing.traces("producer"):
        assert tracing.carried() == ()

    assert [line["log_level"] for line in said] == ["warning"]
    assert "`tracing` requirements" in said[0]["event"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (PARENT.encode(), PARENT),
        (b"", None),
        (None, None),
        (PARENT.upper().encode(), None),
        (PARENT.encode() + b"\n", None),
        (b"00-abc", None),
    ],
)
def test_only_what_is_a_traceparent_is_read(value: bytes, found: str | None) -> None:
    assert read_traceparent([("ce_id", b"1"), ("traceparent", value)]) == found
