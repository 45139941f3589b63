"""A bare downstream client: it sends the bytes it is told, and h11, which is not ours, reads what comes back."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import h11

from tests.support import seen
from tests.support.deadline import awaiting
from tests.support.upstream import reset

if TYPE_CHECKING:
    import ssl

_HEAD_MAX: Final = 1 << 20
_OWN: Final = re.compile(rb'iclient-proxy; error=\w+; details="(\w+)"')
_REMEMBERED: Final = 1 << 12  # of what was received, for the words of a failure


@dataclass
class Response:
    """One response as h11 reads it. `complete` is False when the stream ended inside it."""

    status: int
    reason: bytes
    http_version: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    complete: bool = False
    closes: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of every field of that name, in order."""
        return [value for field_name, value in self.fields if field_name.lower() == name.lower()]

    def problem(self) -> dict[str, Any]:
        """Return the content of an own answer, and hold it to what every own answer has to be."""
        assert self.values(b"content-type") == [b"application/problem+json"], (self.status, self.body)
        assert self.values(b"cache-control") == [b"no-store"]
        assert len(self.body) <= 1024
        assert b"canary-" not in self.body
        content: dict[str, Any] = json.loads(self.body)
        assert content["status"] == self.status
        [proxy_status] = self.values(b"proxy-status")
        assert proxy_status.startswith(b"iclient-proxy; error=")
        assert f'details="{content["code"]}"'.encode() in proxy_status
        return content

    @property
    def code(self) -> str:
        """The code of an own answer; "" for a response that an upstream made."""
        return str(self.problem()["code"]) if self.values(b"proxy-status") else ""

    @property
    def own_code(self) -> str:
        """The code as `Proxy-Status` has it, without a look at the content; an own answer has no canary (I1)."""
        found = _OWN.match(b"".join(self.values(b"proxy-status")))
        if found is None:
            return ""
        assert b"canary-" not in self.body + b"".join(value for _, value in self.fields), self
        return found[1].decode()


class Client:
    """One downstream stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self.received = b""
        self.was_reset = False

    @classmethod
    async def connect(
        cls, address: tuple[str, int] | str, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None
    ) -> Client:
        """Open a stream to a host and port, or to the path of a unix socket."""
        async with awaiting(f"a stream to {address}"):
            name = "localhost" if tls else None
            if isinstance(address, str):
                return cls(*await asyncio.open_unix_connection(address, ssl=tls, server_hostname=name))
            sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
            sock.setblocking(False)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            try:
                await asyncio.get_running_loop().sock_connect(sock, address)
            except BaseException:
                sock.close()
                raise
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            limit = receive_buffer or 1 << 16
            return cls(*await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name, limit=limit))

    async def secure(self, tls: ssl.SSLContext, name: str | None) -> None:
        """Begin TLS on the open stream, within a CONNECT; raises `ssl.SSLError` and `OSError` where that fails."""
        async with awaiting("the handshake"):
            await self._writer.start_tls(tls, server_hostname=name)

    @property
    def alpn(self) -> str | None:
        """The protocol that TLS has agreed on."""
        found: str | None = self._writer.get_extra_info("ssl_object").selected_alpn_protocol()
        return found

    @property
    def certificate(self) -> bytes:
        """The certificate that the listener has shown, in DER."""
        found: bytes = self._writer.get_extra_info("ssl_object").getpeercert(True)
        return found

    @property
    def port(self) -> int:
        """Our own port."""
        found: int = self._writer.get_extra_info("sockname")[1]
        return found

    async def send(self, *pieces: bytes | asyncio.Event) -> None:
        """Write the pieces one by one; an event is waited for."""
        for piece in pieces:
            if isinstance(piece, asyncio.Event):
                async with awaiting("the gate of the next piece"):
                    await piece.wait()
            else:
                self._writer.write(piece)
                await self._writer.drain()

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self._writer.write_eof()

    def reset(self) -> None:
        """End the stream with RST."""
        reset(self._writer.transport)

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def read(self) -> bytes:
        """Return the next bytes; b"" at the end, however it came."""
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        try:
            data = await self._reader.read(1 << 16)
        except ConnectionError:
            self.was_reset = True
            return b""
        self.received = (self.received + data)[-_REMEMBERED:]
        return data

    async def read_until(self, wanted: bytes) -> bytes:
        """Return what came up to and with `wanted`."""
        found = b""
        async with awaiting(f"the bytes {wanted!r}"):
            while wanted not in found:
                data = await self.read()
                assert data, f"the stream ended before {wanted!r}: {found!r}"
                found += data
        end = found.index(wanted) + len(wanted)
        self._rest = found[end:]
        return found[:end]

    async def read_rest(self) -> bytes:
        """Return everything up to the end of the stream."""
        rest = bytearray()
        async with awaiting("the end of the stream"):
            while data := await self.read():
                rest += data
        return bytes(rest)

    async def read_exactly(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer if the stream ends first."""
        found = bytearray()
        async with awaiting(f"{size} bytes"):
            while len(found) < size and (data := await self.read()):
                found += data
        self._rest = bytes(found[size:])
        return bytes(found[:size])

    async def is_closed(self) -> bool:
        """Wait for the end of the stream; True when nothing came before it."""
        return await self.read_rest() == b""

    async def response(self, method: str = "GET", *, upgrade: bool = False) -> Response:
        """Read one response to a request of that method."""
        async with awaiting("a response"):
            response = await self._response(method, upgrade=upgrade)
        seen.answered(response.status, response.own_code)
        return response

    async def _response(self, method: str, *, upgrade: bool) -> Response:
        machine = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=_HEAD_MAX)
        fields = [("Host", "oracle")] + ([("Connection", "Upgrade"), ("Upgrade", "websocket")] if upgrade else [])
        machine.send(h11.Request(method="HEAD" if method == "HEAD" else "GET", target="/", headers=fields))
        machine.send(h11.EndOfMessage())
        response: Response | None = None
        interim: list[int] = []
        body = bytearray()
        while True:
            try:
                event = machine.next_event()
            except h11.RemoteProtocolError as error:
                if response is None:
                    raise AssertionError(f"no response: {self.received!r}") from error
                response.body = bytes(body)
                return response
            match event:
                case h11.NEED_DATA:
                    machine.receive_data(await self.read())
                case h11.InformationalResponse(status_code=101) | h11.Response():
                    response = Response(
                        event.status_code, event.reason, event.http_version, list(event.headers.raw_items()),
                        interim=interim,
                    )  # fmt: skip
                    if event.status_code == 101:
                        response.complete = True
                        self._rest = machine.trailing_data[0]
                        return response
                case h11.InformationalResponse():
                    interim.append(event.status_code)
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    assert response is not None
                    response.trailers = list(event.headers.raw_items())
                    response.body, response.complete = bytes(body), not self.was_reset
                    response.closes = machine.their_state is h11.MUST_CLOSE or machine.their_state is h11.CLOSED
                    self._rest = machine.trailing_data[0]
                    return response
                case h11.ConnectionClosed() | h11.PAUSED:
                    raise AssertionError(f"no response: {self.received!r}")

    async def ask(self, request: bytes) -> Response:
        """Send one request and read the response to it."""
        await self.send(request)
        return await self.response(request.lstrip().split(b" ", 1)[0].decode("ascii", "replace"))
