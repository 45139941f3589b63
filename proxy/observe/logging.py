"""The log of the process: structlog and the `logging` of the libraries, rendered once, cleaned last, written by a sink.

An event is a short name in snake_case; everything else stands in fields.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

import structlog

from proxy.observe.access import AccessLog
from proxy.observe.redact import Redactor
from proxy.observe.render import clamp, console_line, exception_fields, json_line, timestamp
from proxy.observe.sink import LineSink, SharedSink

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from proxy.clock import Clock
    from proxy.definitions.settings import Log
    from proxy.observe.render import Field

# Seconds that a line of the access log may wait for others (what nginx calls `flush`). Ticks of 10 ms were a hundred
# timers and fifty wake-ups of the writer a second: a fifth of all CPU time that 500 requests a second took.
_TICK: Final = 0.1
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True, slots=True)
class Logs:
    """What `configure` set up: the access log (None when it is off) and how to end it all."""

    access: AccessLog | None
    sink: LineSink
    _route: _LibraryRoute

    def close(self) -> None:
        """Write what is queued; the libraries' messages go nowhere afterwards."""
        logging.getLogger().removeHandler(self._route)
        logging.captureWarnings(False)
        if self.access is not None:
            self.access.flush()
        self.sink.close()


def configure(
    log: Log,
    clock: Clock,
    *,
    fd: int = 1,
    colours: bool = True,
    lock: int | None = None,
    worker: int | None = None,
) -> Logs:
    """Set up the log of this process on file descriptor `fd`; call it once, before the first event.

    `colours` False keeps a terminal plain (https://no-color.org). By the lock of the file `lock` processes take turns
    to write; `worker` is the number of this one, which its events then name.
    """
    terminal = os.isatty(fd)
    console = log.format == "console" or (log.format == "auto" and terminal)
    sink = LineSink(fd, clock) if lock is None else SharedSink(fd, clock, lock)
    redact = Redactor()
    render: Callable[[dict[str, Field]], bytes]
    if console:

        def render(event: dict[str, Field]) -> bytes:
            return redact(console_line(event, colours=colours and terminal))
    else:

        def render(event: dict[str, Field]) -> bytes:
            return redact(json_line(event))

    level = _LEVELS[log.level]
    structlog.configure(
        processors=[
            *(() if worker is None else (_Number(worker),)),
            structlog.processors.add_log_level,
            _Prepare(clock, redact),
            lambda _, __, event: render(dict(event)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _SinkLogger(sink),
        cache_logger_on_first_use=True,
    )
    route = _LibraryRoute()
    root = logging.getLogger()
    root.addHandler(route)
    # Libraries talk at INFO about what our own events already say.
    root.setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))
    logging.captureWarnings(True)
    access = None
    if log.access and level <= logging.INFO:
        access = AccessLog(sink, clock, _within_a_tick, render if console else None)
    return Logs(access=access, sink=sink, _route=route)


def _within_a_tick(call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(_TICK, call)


class _SinkLogger:
    """The end of structlog's chain: takes rendered bytes."""

    def __init__(self, sink: LineSink) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = sink.write
        self.msg = self.log = sink.write

    def __reduce__(self) -> NoReturn:
        raise TypeError("a logger is not serialised")


class _Number:
    """Names the worker in each of its events."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["worker"] = self._number
        return event


class _Prepare:
    """Makes an event ready to be rendered: exceptions as text, every field clamped, level and time at the end."""

    def __init__(self, clock: Clock, redact: Redactor) -> None:
        self._clock = clock
        self._redact = redact

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Field]:
        error = event.pop("exc_info", None)
        if isinstance(error, tuple):
            error = error[1]
        elif error is True:
            error = sys.exception()
        level = str(event.pop("level", "info"))
        ready: dict[str, Field] = {"event": self._field(event.pop("event", ""))}
        ready.update((key, self._field(value)) for key, value in event.items())
        if isinstance(error, BaseException):
            ready.update((key, self._field(value)) for key, value in exception_fields(error).items())
        ready["level"] = level
        ready["timestamp"] = timestamp(self._clock.wall())
        return ready

    def _field(self, value: object) -> Field:
        if value is None or isinstance(value, int | float):
            return value
        text = value if isinstance(value, str) else repr(value)
        clamped = clamp(text)
        if clamped is not text:
            # A secret that the cut goes through would not be known again on the rendered line.
            text = self._redact(text.encode("utf-8", "backslashreplace")).decode()
            clamped = clamp(text)
        return clamped


class _LibraryRoute(logging.Handler):
    """Sends what libraries say through `logging` down the same chain."""

    _NAMES: Final[dict[int, Literal["debug", "info", "warning", "error"]]] = {
        logging.DEBUG: "debug",
        logging.INFO: "info",
        logging.WARNING: "warning",
    }

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's message under the name of its logger."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # A message that does not fit its arguments is no reason to fail what the library was doing.
            message = str(record.msg)
        log = getattr(structlog.get_logger(), self._NAMES.get(record.levelno, "error"))
        log("library", logger=record.name, message=message, exc_info=record.exc_info)
