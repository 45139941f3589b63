"""The application of every trial: one request per stream, no OAuth, no retries of its own."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Longer than any answer of a contestant takes.
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: status (0 for none), the body, and seconds to its first byte and to its end."""

    status: int
    body: bytes
    first: float
    seconds: float

    @property
    def good(self) -> bool:
        """Whether the application has what it asked for: 200, and a body that does not say otherwise."""
        return self.status == 200 and self.said.get("ok", True) is True

    @property
    def said(self) -> dict[str, object]:
        """The JSON of the body; empty for another body."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Application:
    """Asks a contestant on `port` for what the API of one fault has."""

    def __init__(self, port: int, fault: str) -> None:
        self._port = port
        self._path = f"/{fault}/items/42"

    def ask(self, method: str = "GET", body: bytes | None = None) -> Answer:
        """Ask once, on a stream of its own."""
        stream = self._stream()
        try:
            return self._asked(stream, method, body)
        finally:
            stream.close()

    def together(self, count: int) -> list[Answer]:
        """Ask `count` times at once: all streams are open before the first request leaves."""
        streams = [self._stream() for _ in range(count)]
        gate = threading.Barrier(count)

        def one(stream: http.client.HTTPConnection) -> Answer:
            stream.connect()
            gate.wait(_PATIENCE)
            return self._asked(stream, "GET", None)

        try:
            with ThreadPoolExecutor(count) as pool:
                return list(pool.map(one, streams))
        finally:
            for stream in streams:
                stream.close()

    def in_turn(self, count: int) -> int:
        """Ask `count` times on one stream; return how many answers were good."""
        stream = self._stream()
        try:
            return sum(self._asked(stream, "GET", None).good for _ in range(count))
        finally:
            stream.close()

    def leave(self, when: Callable[[], bool]) -> None:
        """Ask, and cut the stream as soon as `when()`, without an answer."""
        with socket.create_connection(("127.0.0.1", self._port), _PATIENCE) as stream:
            stream.sendall(f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode())
            deadline = time.monotonic() + _PATIENCE
            while not when() and time.monotonic() < deadline:
                time.sleep(0.02)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _stream(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)

    def _asked(self, stream: http.client.HTTPConnection, method: str, body: bytes | None) -> Answer:
        begun = time.perf_counter()
        first = 0.0
        pieces: list[bytes] = []
        try:
            stream.request(method, self._path, body)
            response = stream.getresponse()
            while piece := response.read1(65536):
                first = first or time.perf_counter() - begun
                pieces.append(piece)
            response.close()  # read to its end; else the stream takes no further request
        except (OSError, http.client.HTTPException):
            return Answer(0, b"".join(pieces), first, time.perf_counter() - begun)
        return Answer(response.status, b"".join(pieces), first, time.perf_counter() - begun)
