"""Structured logs on standard error: one JSON object a line, or coloured text on a terminal.

Everything logs through the standard library's root handler, third parties included, so every line has one shape
and passes one filter that takes API keys out (promise P9).
"""

import json
import logging
import re
import sys
from typing import Any, Final, Literal

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

_KEY: Final = re.compile(r"(?<=[?&]key=)[^&\s\"']+|AIza[\w-]{35}")
_MASK: Final = "***"

_QUIETER: Final = {
    "aiokafka": logging.WARNING,
    "asyncio": logging.WARNING,
    "faust": logging.ERROR,
    "googleapiclient": logging.WARNING,
    "mode": logging.WARNING,
    "pymongo": logging.WARNING,
}


def configure_logging(
    level: Literal["debug", "info", "warning", "error"],
    style: Literal["auto", "json", "console"],
    *,
    service: str,
    secrets: tuple[str, ...] = (),
) -> None:
    """Send every log line of this process to standard error; `secrets` are masked wherever they stand."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Service(service),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _Masking(secrets),
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else _json_line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quiet in _QUIETER.items():
        logging.getLogger(name).setLevel(max(quiet, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines carry key-value pairs: `log.info("item published", video_id=…)`."""
    return structlog.stdlib.get_logger(name)


class _Service:
    def __init__(self, service: str) -> None:
        self.service = service

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = self.service
        return event


class _Masking:
    """Takes keys and secrets out of every value, whatever library wrote it."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        parts = [_KEY.pattern, *(re.escape(secret) for secret in secrets if secret)]
        self.pattern = re.compile("|".join(parts))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {key: self.masked(value) for key, value in event.items()}

    def masked(self, value: object) -> object:
        if isinstance(value, bool | int | float | None):
            return value
        if isinstance(value, list | tuple | set | frozenset):
            return [self.masked(part) for part in value]
        if isinstance(value, dict):
            return {key: self.masked(part) for key, part in value.items()}
        return self.pattern.sub(_MASK, value if isinstance(value, str) else str(value))


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # Lone surrogates, numbers over 64 bits: rare, but a line that fails is printed raw, secrets and all.
        return json.dumps(event, default=str, skipkeys=True)
