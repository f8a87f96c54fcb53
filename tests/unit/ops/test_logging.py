"""Log lines: one shape for everybody, and no secret in any of them (promise P9)."""

import io
import json
import logging
import sys
from typing import Any, Literal

import pytest

from ops.logging import configure_logging, get_logger

KEY = "AIza" + "Sy_x-0" * 5 + "abcde"
PLAIN_SECRET = "correct horse"  # noqa: S105 - a made-up one


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _configure(
    level: Literal["debug", "info", "warning", "error"] = "info", *, secrets: tuple[str, ...] = (PLAIN_SECRET,)
) -> None:
    configure_logging(level, "json", service="producer", secrets=secrets)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_with_time_level_and_service(capsys: pytest.CaptureFixture[str]) -> None:
    _configure()

    get_logger("producer.poller").info("item published", video_id="x", pages=3)

    (line,) = _lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "item published",
        "level": "info",
        "logger": "producer.poller",
        "pages": 3,
        "service": "producer",
        "video_id": "x",
    }


def test_third_parties_lines_have_the_same_shape(capsys: pytest.CaptureFixture[str]) -> None:
    _configure()

    logging.getLogger("urllib3").warning("retrying %s in %d s", "call", 5, extra={"attempt": 2})

    (line,) = _lines(capsys)
    assert (line["event"], line["level"], line["service"]) == ("retrying call in 5 s", "warning", "producer")
    assert line["attempt"] == 2


def _log_everywhere(secret: str) -> None:
    log = get_logger("anywhere")
    log.info(f"calling https://host/search?part=snippet&key={secret}&q=tea")  # noqa: G004 - what must not be done
    log.info("call", uri=f"?key={secret}", headers={"X-Goog-Api-Key": secret}, nested=[{"deep": (secret,)}])
    log.bind(bound=secret).info("bound")
    log.info("raw", body=f'{{"key": "{secret}"}}'.encode())
    logging.getLogger("googleapiclient.http").warning("URL being requested: GET %s", f"https://host/?key={secret}")
    logging.getLogger("third").warning("%s and %r", secret, {"key": secret})
    try:
        int(secret)
    except ValueError as error:
        log.exception("failed", error=error)
        logging.getLogger("third").exception("failed too")


@pytest.mark.parametrize("secret", [KEY, PLAIN_SECRET])
@pytest.mark.parametrize("style", ["json", "console"])
def test_secrets_are_masked_wherever_they_stand(
    capsys: pytest.CaptureFixture[str], secret: str, style: Literal["json", "console"]
) -> None:
    configure_logging("info", style, service="producer", secrets=(PLAIN_SECRET,))

    _log_everywhere(secret)

    written = capsys.readouterr().err
    assert secret not in written
    assert secret.replace(" ", "%20") not in written
    assert written.count("***") >= 9
    assert "ValueError: invalid literal" in written


def test_a_key_in_an_address_is_masked_whatever_it_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    _configure(secrets=())

    get_logger("anywhere").info("calling https://host/?key=short-1&q=tea", also="/x?q=tea&key=short-2")

    written = capsys.readouterr().err
    assert "short-" not in written
    assert "q=tea" in written


def test_an_empty_secret_masks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _configure(secrets=("",))

    get_logger("anywhere").info("hello", n=1)

    assert "***" not in capsys.readouterr().err


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    _configure("warning")

    get_logger("anywhere").info("quiet")
    logging.getLogger("anything").info("quiet")
    get_logger("anywhere").warning("heard")

    assert [line["event"] for line in _lines(capsys)] == ["heard"]


def test_chatty_libraries_are_quieter_than_ours(capsys: pytest.CaptureFixture[str]) -> None:
    _configure("debug")

    for name in ("aiokafka.conn", "faust.app", "pymongo.command"):
        logging.getLogger(name).info("chatter")
    get_logger("ours").debug("detail")

    assert [line["event"] for line in _lines(capsys)] == ["detail"]


@pytest.mark.parametrize(("stream", "is_json"), [(io.StringIO, True), (Terminal, False)])
def test_auto_is_json_unless_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], is_json: bool
) -> None:
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    configure_logging("info", "auto", service="producer")

    get_logger("anywhere").info("hello", n=1)

    assert stderr.getvalue().startswith("{") == is_json
    assert "hello" in stderr.getvalue()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (ValueError("no"), "no"),
        (2**70, 2**70),
        ("lone \ud800", "lone \ud800"),
        (b"\xff", "b'\\xff'"),
        ({1: KEY}, {"1": "***"}),
        ({"\ud800": KEY, (1, 2): 3}, {"\ud800": "***"}),
        ((1, [KEY]), [1, ["***"]]),
    ],
)
def test_no_value_keeps_a_line_from_being_written(
    capsys: pytest.CaptureFixture[str], value: object, written: object
) -> None:
    _configure()

    get_logger("anywhere").info("odd", value=value)

    (line,) = _lines(capsys)
    assert line["value"] == written
