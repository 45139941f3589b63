"""Streams without HTTP on them, for tunnels: dialled one by one, never pooled, as cheap as a stream can be."""

from __future__ import annotations

import asyncio
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from proxy.errors import Refusal
from proxy.outbound.dial import reach
from proxy.wire.reader import Reader, as_protocol
from proxy.wire.sweep import NEVER

if TYPE_CHECKING:
    from proxy.exchange.connect import RawWaiter
    from proxy.exchange.stream import Joined
    from proxy.outbound.dial import Way
    from proxy.wire.sweep import Sweep

_DRAIN: Final = 30.0  # seconds without a byte, once one direction has ended: a peer that is gone must not keep its half
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST
_WRITE_HIGH: Final = 64 * 1024  # bytes that may wait for a peer, as towards applications


class RawStream(Reader):
    """One stream to a destination; fills the port `TunnelStream`. `deadline` is for the sweep."""

    __slots__ = (
        "_early", "_ended", "_finished", "_held", "_idle", "_lost", "_sweep", "_transport", "_tunnel", "deadline",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._tunnel: Joined | None = None
        self._early = b""
        self._ended = False  # the upstream says no more
        self._finished = False  # we say no more
        self._held = False
        self._idle = 0.0
        self._lost = False
        self.deadline = NEVER

    # Reader

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The destination has accepted."""
        # uvloop's transports are none of asyncio's classes, only of their shape.
        transport = self._transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self._sweep.members.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone."""
        self.deadline = NEVER
        self._lost = True
        self._sweep.members.discard(self)
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.lost()

    def data_received(self, data: bytes) -> None:
        """Hand on what came."""
        tunnel = self._tunnel
        if tunnel is None:
            self._early += data  # who dialled takes the stream over within this turn of the loop
            return
        self.deadline = monotonic() + self._idle
        tunnel.from_upstream(data)

    def eof_received(self) -> bool:
        """Pass the half-close on; what the client still says is sent."""
        self._ended = True
        self._idle = min(self._idle, _DRAIN)
        if self._tunnel is not None:
            self.deadline = monotonic() + self._idle
            self._tunnel.from_upstream(b"")
        return True

    def pause_writing(self) -> None:
        """The destination takes no more."""
        if self._tunnel is not None:
            self._tunnel.blocked(on=True)

    def resume_writing(self) -> None:
        """The destination takes again."""
        if self._tunnel is not None:
            self._tunnel.blocked(on=False)

    # The tunnel's port

    def tunnel(self, tunnel: Joined, idle: float) -> bytes:
        """Hand what has come already to `tunnel`, and everything that comes; nothing is given back."""
        if self._lost:
            tunnel.lost()
            return b""
        self._tunnel = tunnel
        self._idle = min(idle, _DRAIN) if self._ended else idle
        self.deadline = monotonic() + self._idle
        early, self._early = self._early, b""
        if early:
            tunnel.from_upstream(early)
        if self._ended:
            tunnel.from_upstream(b"")
        return b""

    def send(self, data: bytes, *, complete: bool) -> None:
        """Write."""
        self.deadline = monotonic() + self._idle
        self._transport.write(data)

    def hold(self, *, on: bool) -> None:
        """Stop or go on reading; while the client does not read, `limits.write_idle` is its deadline."""
        if on is self._held or self._ended or self._transport.is_closing():
            return
        self._held = on
        if on:
            self._transport.pause_reading()
            self.deadline = NEVER
        else:
            self._transport.resume_reading()
            self.deadline = monotonic() + self._idle

    def end_upload(self) -> None:
        """Half-close."""
        self._finished = True
        self._idle = min(self._idle, _DRAIN)
        if self._transport.is_closing():
            return
        self.deadline = monotonic() + self._idle
        self._transport.write_eof()

    def close(self) -> None:
        """Close after what was written, if both sides have said all they had to say; else reset."""
        self._tunnel = None
        if self._lost:
            return
        if self._ended and self._finished:
            self.deadline = monotonic() + _DRAIN
            self._transport.close()
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    # The sweep

    def expired(self) -> None:
        """Nothing came or went for too long."""
        self.deadline = NEVER
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.lost()
        else:
            self._transport.abort()  # it was closed, and does not take what was written before


class RawStreams:
    """Dials destinations by one way; fills the exchange's port of that name. `connect` is in seconds."""

    def __init__(self, way: Way, loop: asyncio.AbstractEventLoop, sweep: Sweep, connect: float) -> None:
        self._way = way
        self._loop = loop
        self._sweep = sweep
        self._connect = connect
        self._dials: dict[RawWaiter, asyncio.Task[None]] = {}

    def open(self, waiter: RawWaiter, host: str, port: int) -> None:
        """Have `waiter` told of a new stream, or why there is none, within `connect` seconds."""
        self._dials[waiter] = self._loop.create_task(self._dial(waiter, host, port), name="dial for a tunnel")

    def forget(self, waiter: RawWaiter) -> None:
        """`waiter` has left."""
        task = self._dials.pop(waiter, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop dialling."""
        tasks = list(self._dials.values())
        self._dials.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _dial(self, waiter: RawWaiter, host: str, port: int) -> None:
        async def attempt(address: str) -> RawStream:
            stream = RawStream(self._sweep)
            await self._way.open(lambda: as_protocol(stream), address, host, port)
            return stream

        try:
            stream = await reach(self._way, host, port, self._connect, attempt)
        except Refusal as refusal:
            if self._dials.pop(waiter, None) is not None:
                waiter.broken(refusal)
            return
        if self._dials.pop(waiter, None) is None:
            stream.close()
            return
        waiter.opened(stream)
