"""The log: one line an event, JSON or for people.

Laws:

- Logging never raises and never ends a pump, whatever the values and the state of the stream.
- A Secret prints as `***`.
- A traceback shows at level debug only, and never with the local variables of its frames, which
  may hold a revealed token.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TextIO, cast

import structlog

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_FOREIGN: Final = (
    "aiohttp",
    "asyncio",
    "pika",
    "rtmpump.client",
    "slack_sdk",
    "websocket",
    "urllib3",
)
_DEEPEST: Final = 8
_Event = MutableMapping[str, Any]


def setup(level: str, format: str, stream: TextIO | None = None) -> None:
    """Begin to log; a later call replaces an earlier one.

    The libraries below us fall silent: we log their errors in our own words, and their lines could
    hold a URL with a secret.

    Args:
        level: As `log.level` in the configuration.
        format: As `log.format` in the configuration.
        stream: Where the lines go; standard error if None.
    """
    stream = sys.stderr if stream is None else stream
    is_terminal = stream.isatty()
    for_people = format == "console" or (format == "auto" and is_terminal)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            partial(_with_exception, show_traceback=level == "debug"),
            _plain_values,
            _in_order,
            _for_people(is_terminal) if for_people else _to_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *name: _Sink(stream, *name),
        cache_logger_on_first_use=False,
    )
    _silence_foreign()


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of one part of the program; it may be called before `setup`."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(name))


_writing = threading.Lock()


class _Sink:
    """Write finished lines; a line that cannot be written is lost, for there is no other place."""

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            with _writing:
                self._stream.write(f"{line}\n")
                self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = msg


def _with_exception(
    _logger: object, _method: str, event: _Event, *, show_traceback: bool
) -> _Event:
    """Turn `exc_info` into the field `error`, and at level debug into `exception` too."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["error"] = error
        if show_traceback:
            event["exception"] = "".join(traceback.format_exception(error))
    return event


def _plain_values(_logger: object, _method: str, event: _Event) -> _Event:
    return {str(key): _plain(value) for key, value in event.items()}


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value that JSON has; for any other value, its text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return _line(value)


def _line(value: Any) -> str:
    """Return an object as one line; an exception with its class before its message."""
    try:
        text = " ".join(str(value).split())
    except Exception as error:
        text = f"(no text: {type(error).__name__})"
    return f"{type(value).__name__}: {text}" if isinstance(value, BaseException) else text


def _in_order(sink: _Sink, _method: str, event: _Event) -> _Event:
    """Put the fields of every line first: `time`, `level`, `logger`, `event`."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    first = {"time": now, "level": event.pop("level"), "logger": sink.name}
    return first | {"event": event.pop("event")} | dict(event)


def _to_json(_logger: object, _method: str, event: _Event) -> str:
    return json.dumps(event)


def _for_people(colors: bool) -> structlog.typing.Processor:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors,
        timestamp_key="time",
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def render(logger: Any, method: str, event: _Event) -> str:
        return str(renderer(logger, method, {key: _safe(key, event[key]) for key in event}))

    return render


def _safe(key: str, value: Any) -> Any:
    """Escape what could control a terminal; the lines of a traceback stay lines."""
    if key == "exception":
        return "\n".join(_escaped(line) for line in str(value).splitlines())
    return _escaped(value) if isinstance(value, str) else value


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _silence_foreign() -> None:
    for name in _FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
