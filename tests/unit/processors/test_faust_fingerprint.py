"""The installed Faust is the one that the chunked loop was tested with; another one is noticed, by name."""

from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from contract.settings import load_settings
from processors import app as app_module
from processors import faust_fingerprint
from processors.app import create_app
from processors.chunked_consumer import ChunkedTransport
from processors.consumer import SteadyTransport
from processors.faust_fingerprint import changed_sources


def test_the_installed_faust_is_the_one_that_was_tested() -> None:
    assert changed_sources() == [], (
        "Faust changed where the chunked loop relies on it: read these, run the fault tests with "
        "YOUSYNC_PROCESSOR_LOOP=chunked, then take over what `python -m processors.faust_fingerprint` prints"
    )


@pytest.mark.parametrize(
    "name",
    [
        "faust.transport.consumer:Consumer.ack",
        "faust.transport._cython:conductor.pyx",
        "faust.transport.consumer:Consumer.gone",
        "faust.transport.gone:Consumer",
        "faust.gone:conductor.pyx",
    ],
)
def test_what_changed_or_is_gone_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(faust_fingerprint.EXPECTED, name, "0" * 16)

    assert changed_sources() == [name]


def test_the_chunked_loop_is_used_when_it_is_asked_for(tmp_path: Path) -> None:
    chunked = create_app(load_settings(processor_loop="chunked", home=tmp_path))
    stock = create_app(load_settings(home=tmp_path))

    assert isinstance(chunked.transport, ChunkedTransport)
    assert isinstance(stock.transport, SteadyTransport)


def test_with_another_faust_the_stock_loop_is_used_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = CapturingLogger()
    monkeypatch.setattr(app_module, "log", log)
    monkeypatch.setitem(faust_fingerprint.EXPECTED, "faust.transport.consumer:Consumer.ack", "another")

    app = create_app(load_settings(processor_loop="chunked", home=tmp_path))

    assert isinstance(app.transport, SteadyTransport)
    (said,) = log.calls
    assert (said.method_name, said.kwargs["changed"]) == ("warning", ["faust.transport.consumer:Consumer.ack"])
