"""How much of a stream is read at a time, which bounds what is held of it while its other side takes nothing."""

from __future__ import annotations

import asyncio
from time import monotonic  # noqa: TID251 what a piece has cost is a matter of this machine, not of the proxy's clock
from typing import Final, cast

from proxy.form import mypyc_attr

# Bytes. uvloop's own buffer has 250 KiB, and a stream whose other side does not read came to hold 400 of them. Two
# pieces of this size and all else of a stream stay below 256 KiB (D-175), and large bodies cost no more CPU time; in
# pieces of 64 KiB they do. What a request pays for it, half a microsecond, is below what can be measured here.
READ_MAX: Final = 96 * 1024
# One for all streams: each piece is copied out of it before the next is read.
_BUFFER: Final = bytearray(READ_MAX)
_VIEW: Final = memoryview(_BUFFER)
# Seconds. While a read fills the buffer libuv reads the same stream on, up to 32 times before anybody else has a turn:
# nothing where bodies pass as they came, half a second where a piece consists of 16,000 chunks.
_TURN: Final = 0.005


@mypyc_attr(allow_interpreted_subclasses=True)
class Reader:
    """A protocol that is given at most `READ_MAX` bytes at a time.

    One that takes a stream over from another has to be one, too: uvloop may go on to use the other's buffer. It knows
    such a protocol by `get_buffer`, not by its class, so this is none of asyncio's: a compiled class can't be one.
    """

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A stream is there."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""

    def eof_received(self) -> bool:
        """The other side says no more; whether the stream stays open for what is still to be said."""
        return False

    def pause_writing(self) -> None:
        """The other side takes no more."""

    def resume_writing(self) -> None:
        """It takes again."""

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where to read into, whatever the loop would like."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Something was read; a stream that keeps the loop busy lets the others have their turn before it goes on."""
        if nbytes < READ_MAX:
            self.data_received(_VIEW[:nbytes].tobytes())
            return
        began = monotonic()
        self.data_received(_VIEW.tobytes())
        transport = self.reading()
        if transport is not None and monotonic() - began > _TURN and not transport.is_closing():
            transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        transport = self.reading()
        if transport is not None and not transport.is_closing():
            transport.resume_reading()

    def reading(self) -> asyncio.Transport | None:
        """Return the transport, unless reading from it was stopped; whoever does little with a piece need not."""
        return None

    def data_received(self, data: bytes) -> None:
        """Take it."""


def as_protocol(reader: Reader) -> asyncio.BufferedProtocol:
    """Return the same as what asyncio's types ask for."""
    return cast("asyncio.BufferedProtocol", reader)
