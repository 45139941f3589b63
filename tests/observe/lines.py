"""A log that ends in a pipe, read back as lines once it is closed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from proxy.definitions.settings import Log
from proxy.observe.logging import Logs, configure


class StoppedClock:
    """A clock that stands at 2026-01-02T03:04:05.678Z unless it is set."""

    now = 1767323045.678

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Pipe:
    """What was written to a pipe, once its writing end is closed."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def read(self) -> bytes:
        """Close the writing end and return everything."""
        os.close(self.writing)
        with os.fdopen(self.reading, "rb") as stream:
            return stream.read()


class Written:
    """The log's text, whole and as the events of its lines; filled when the log is closed."""

    text = b""

    @property
    def events(self) -> list[dict[str, object]]:
        """Parse each line as JSON."""
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def event(self) -> dict[str, object]:
        """The only event."""
        [event] = self.events
        return event


@contextmanager
def log(**settings: object) -> Iterator[tuple[Logs, Written]]:
    """Configure the log of this process into a pipe; read it at the end."""
    pipe = Pipe()
    written = Written()
    logs = configure(Log(**{"format": "json", **settings}), StoppedClock(), fd=pipe.writing)
    try:
        yield logs, written
    finally:
        logs.close()
        structlog.reset_defaults()
        written.text = pipe.read()
