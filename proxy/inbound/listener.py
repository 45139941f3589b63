"""A listening socket of the data path and the streams that came through it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
from typing import TYPE_CHECKING, assert_never

from proxy.definitions.models import TcpBind, UnixBind
from proxy.errors import MachineError
from proxy.inbound.connection import Downstream
from proxy.problem import PROBLEMS, answer

if TYPE_CHECKING:
    import asyncio

    from proxy.definitions.models import Bind, Limits
    from proxy.exchange.surroundings import Surroundings
    from proxy.inbound.reverse import ReverseRules
    from proxy.wire.request import HeadLimits
    from proxy.wire.sweep import Sweep

_BACKLOG = 1024


class StreamCount:
    """How many data streams are open in the whole process, and how many may be."""

    __slots__ = ("limit", "open")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = 0


class Listener:
    """One reverse listener (or the port of one route)."""

    def __init__(
        self,
        name: str,
        bind: Bind,
        tls: ssl.SSLContext | None,
        rules: ReverseRules,
        surroundings: Surroundings,
        limits: Limits,
        head_limits: HeadLimits,
        sweep: Sweep,
        count: StreamCount,
    ) -> None:
        self.name = name
        self.rules = rules
        self.surroundings = surroundings
        self.limits = limits
        self.head_limits = head_limits
        self.tls = tls is not None
        self._bind = bind
        self._context = tls
        self._sweep = sweep
        self._count = count
        self._server: asyncio.Server | None = None
        self._streams: set[Downstream] = set()

    async def start(self) -> str:
        """Bind and accept; returns the address. Raises `MachineError` when it is taken or not ours to have."""
        loop = self.surroundings.loop
        sock = bind_socket(self._bind)
        self._server = await loop.create_server(
            lambda: Downstream(self), sock=sock, ssl=self._context, backlog=_BACKLOG
        )
        return printable_address(sock)

    def stop_accepting(self) -> None:
        """Close the listening socket; open streams go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
            if isinstance(self._bind, UnixBind):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._bind.path)

    def close_idle(self) -> None:
        """Close the streams that have no request under way."""
        for stream in list(self._streams):
            stream.close_when_idle()

    def abort(self) -> None:
        """Cut all streams."""
        for stream in list(self._streams):
            stream.abort()

    @property
    def open_streams(self) -> int:
        """Streams that are still open."""
        return len(self._streams)

    # What its streams tell

    def opened(self, stream: Downstream) -> None:
        """A stream was accepted; one too many is told so and closed."""
        self._streams.add(stream)
        self._sweep.members.add(stream)
        self._count.open += 1
        if self._count.open > self._count.limit:
            problem = PROBLEMS["overloaded"]
            request_id = self.surroundings.record_unmatched(problem, None)
            stream.turn_away(
                answer(problem, "limits.connections are open", request_id=request_id, retry_after=1, close=True)
            )

    def closed(self, stream: Downstream) -> None:
        """A stream is gone."""
        self._streams.discard(stream)
        self._sweep.members.discard(stream)
        self._count.open -= 1

    def slow(self) -> None:
        """A stream was closed because its client was too slow."""
        self.surroundings.counters.slow_clients_closed += 1


def bind_socket(bind: Bind) -> socket.socket:
    """Return a bound socket; raises `MachineError` with what is in the way."""
    match bind:
        case TcpBind(host=host, port=port):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((host, port))
            except OSError as error:
                sock.close()
                raise MachineError("address_in_use", f"can't listen on {host}:{port}: {error.strerror}") from error
        case UnixBind(path=path):
            sock = _bind_unix(path)
        case _:
            assert_never(bind)
    sock.setblocking(False)
    return sock


def _bind_unix(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise MachineError("address_in_use", f"can't listen on unix:{path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on (left by a process that was killed)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


def printable_address(sock: socket.socket) -> str:
    """Return `127.0.0.1:7480`, `[::1]:7480` or `unix:/path`."""
    name = sock.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
