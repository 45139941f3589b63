"""The real proxy, run as operators run it: a process of its own, its definition in a file, its secret in a variable."""

from __future__ import annotations

import json
import subprocess  # nosec B404 # the demo starts the product
import sys
from contextlib import AbstractContextManager
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

# A start takes a second; a machine that is busy with other things may take a few.
_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 5.0
_REMEMBERED: Final = 20


class DidNotStartError(Exception):
    """The proxy ended or stayed silent instead of listening."""


class ProxyProcess(AbstractContextManager["ProxyProcess"]):
    """`iclient-proxy run` on one file, for the length of a `with`.

    `environ` is the whole environment of the process. `reverse` and `admin` are the URLs of its listeners, read from
    what it logs; `lines` are its last ones.
    """

    def __init__(self, definition: Path, environ: Mapping[str, str]) -> None:
        self.reverse = ""
        self.admin = ""
        self.lines: list[str] = []
        self._definition = definition
        self._environ = dict(environ)
        self._said: Queue[str | None] = Queue()
        self._running: subprocess.Popen[str] | None = None
        self._listener: Thread | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "proxy", "run", "--config", str(self._definition)]
        self._running = subprocess.Popen(  # noqa: S603 our own interpreter, module and file  # nosec B603
            command, env=self._environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
        self._listener = Thread(target=self._listen, args=(self._running,), name="demo proxy output", daemon=True)
        self._listener.start()
        try:
            self._wait_until_listening()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        running.terminate()
        try:
            running.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        if self._listener is not None:
            # Its last words are the ones that explain.
            self._listener.join()

    def _listen(self, running: subprocess.Popen[str]) -> None:
        if running.stdout is not None:
            with running.stdout as output:
                for line in output:
                    # Read on for ever: a full pipe would make the proxy drop its log.
                    self.lines[:] = [*self.lines[1 - _REMEMBERED :], line.rstrip("\n")]
                    self._said.put(line)
        self._said.put(None)

    def _wait_until_listening(self) -> None:
        while not (self.reverse and self.admin):
            try:
                line = self._said.get(timeout=_START_SECONDS)
            except Empty:
                line = None
            if line is None:
                raise DidNotStartError
            self._take(line)

    def _take(self, line: str) -> None:
        if not line.startswith("{"):
            return
        event = json.loads(line)
        if event.get("event") == "listening":
            url = f"http://{event['address']}"
            if event["listener"] == "admin":
                self.admin = url
            else:
                self.reverse = url
