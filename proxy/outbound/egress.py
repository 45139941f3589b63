"""The way out through the operator's HTTP proxy: every stream is asked for by CONNECT (RFC 9110 §9.3.6), TLS or not.

Names are looked up by that proxy, so a destination is judged by its name alone, or by the address it is written as.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.errors import Refusal
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.definitions.settings import EgressProxy
    from proxy.outbound.destinations import Destinations
    from proxy.outbound.direct import Resolver

P = TypeVar("P", bound=asyncio.BaseProtocol)
_HEAD_MAX: Final = 16 * 1024  # of all heads of the proxy's answer; a proxy that asks for a login sends one or two KiB
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_NAME: Final = "egress_proxy"


class Gate:
    """To the proxy and through it."""

    __slots__ = ("_destinations", "_proxy", "_resolver")

    def __init__(self, proxy: EgressProxy, resolver: Resolver, destinations: Callable[[], Destinations]) -> None:
        self._proxy = proxy
        self._resolver = resolver
        self._destinations = destinations

    async def addresses(self) -> tuple[str, ...]:
        """Return the proxy's addresses, at least one; raises `Refusal`."""
        proxy = self._proxy
        try:
            found = await self._resolver.resolve(proxy.host, proxy.port)
        except Refusal as refusal:
            raise Refusal(refusal.problem, f"{_NAME}: {refusal.detail}") from refusal
        destinations = self._destinations()
        others = tuple(address for address in found if not destinations.is_own(address, proxy.port))
        if not others:
            raise Refusal(PROBLEMS["proxy_loop_detected"], f"{_NAME} is a listener of this very proxy")
        return others

    async def open(self, address: str, host: str, port: int) -> socket.socket:
        """Return a socket on which `host` speaks, nothing of it read yet; raises `OSError` or `Refusal`."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, (address, self._proxy.port))
            await loop.sock_sendall(sock, self._request(host, port))
            status = 100
            left = _HEAD_MAX
            while status < 200:  # RFC 9110 §15.2: any number of interim responses may come first
                head = await _read_head(sock, left)
                left -= len(head)
                found = _STATUS.match(head)
                if found is None:
                    raise Refusal(PROBLEMS["upstream_protocol_error"], f"{_NAME} does not answer CONNECT in HTTP/1.1")
                status = int(found[1])
            if status >= 300:
                raise _refused(status)
        except BaseException:
            sock.close()
            raise
        return sock

    def _request(self, host: str, port: int) -> bytes:
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if self._proxy.credential is not None:
            pair = base64.b64encode(self._proxy.credential.reveal().encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {pair}")
        return "\r\n".join([*lines, "", ""]).encode()


class Egress:
    """Fills the port `Way`. `claimed`: some connection names the host."""

    __slots__ = ("_claimed", "_destinations", "_gate")

    to = _NAME

    def __init__(self, gate: Gate, destinations: Callable[[], Destinations], *, claimed: bool) -> None:
        self._gate = gate
        self._destinations = destinations
        self._claimed = claimed

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses of the proxy, if the destination may be asked for."""
        refusal = self._destinations().named(host, port, claimed=self._claimed)
        if refusal is not None:
            raise refusal
        return await self._gate.addresses()

    async def open(
        self, protocol: Callable[[], P], address: str, host: str, port: int
    ) -> tuple[asyncio.BaseTransport, P]:
        """Connect to the proxy at that address, and through it."""
        sock = await self._gate.open(address, host, port)
        return await asyncio.get_running_loop().create_connection(protocol, sock=sock)


def _refused(status: int) -> Refusal:
    if status == 407:
        return Refusal(
            PROBLEMS["upstream_refused"], f"{_NAME} answered 407: it wants another user name and password (Basic)"
        )
    if status == 504:
        return Refusal(PROBLEMS["upstream_connect_timeout"], f"{_NAME} answered 504: it did not reach the upstream")
    return Refusal(PROBLEMS["upstream_refused"], f"{_NAME} answered {status} to CONNECT")


async def _read_head(sock: socket.socket, most: int) -> bytes:
    """Return one head, and leave what follows it in the socket: that is the destination's, for whoever takes over."""
    head = b""
    while len(head) < most:
        await _readable(sock)
        try:
            seen = head + sock.recv(most - len(head), socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if len(seen) == len(head):
            raise Refusal(PROBLEMS["upstream_reset"], f"{_NAME} closed the stream instead of an answer to CONNECT")
        end = seen.find(b"\r\n\r\n", max(0, len(head) - 3))
        take = len(seen) if end < 0 else end + 4
        head += sock.recv(take - len(head))
        if end >= 0:
            return head
    raise Refusal(PROBLEMS["upstream_protocol_error"], f"{_NAME} answers CONNECT with more than {_HEAD_MAX} bytes")


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, tell)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
