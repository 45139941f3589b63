"""A running proxy: started, drained, stopped."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from proxy.admin.health import Health
from proxy.admin.server import AdminServer
from proxy.inbound.bind import bind_socket, printable_address
from proxy.observe.collectors import Metrics
from proxy.runtime.operations import RunningProxy

if TYPE_CHECKING:
    from proxy.definitions.models import AdminListener
    from proxy.runtime.assemble import Assembly

_LOOK: Final = 0.05  # seconds between looks at whether the last exchange has ended


class Service:
    """Starts the parts of an assembly in order and stops them in the opposite one.

    A first `stop` drains: listeners accept for `drain_delay`, answers carry `Connection: close`, exchanges under way
    have `grace` to end. A second one ends at once.
    """

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._parts = AsyncExitStack()
        self._log = structlog.get_logger()
        self._operations = RunningProxy(assembly.parts, assembly.unmatched, self.stop)
        self._health = Health(self._operations.connections)

    def stop(self) -> None:
        """Drain; when draining already, end at once."""
        if self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()

    async def start(self) -> None:
        """Bind every listener, or none: raises `MachineError`. Tokens are fetched from then on."""
        assembly = self._assembly
        async with AsyncExitStack() as started:
            assembly.sweep.start()
            started.callback(assembly.sweep.stop)
            for part in assembly.parts:
                started.push_async_callback(part.pool.close)
                if part.keeper is not None:
                    started.push_async_callback(part.keeper.close)
            for listener in assembly.listeners:
                address = await listener.start()
                started.callback(listener.stop_accepting)
                self._log.info("listening", listener=listener.name, address=address)
            admin = assembly.definitions.listeners.admin
            if admin is not None:
                started.push_async_callback((await self._start_admin(admin)).close)
            self._parts = started.pop_all()
        for part in assembly.parts:
            if part.keeper is not None:
                part.keeper.start()
        self._health.opened()

    async def _start_admin(self, settings: AdminListener) -> AdminServer:
        surroundings = self._assembly.surroundings
        metrics = Metrics(surroundings.counters, self._operations.watched, version("iclient-proxy"))
        server = AdminServer(settings, self._operations, self._health, metrics.scrape)
        sock = bind_socket(settings.bind, "admin listener")
        self._log.info("listening", listener="admin", address=printable_address(sock))
        await server.start(sock)
        return server

    async def run(self) -> None:
        """Serve until told to stop, then drain and end."""
        try:
            await self._stopping.wait()
            await self._drain()
        finally:
            await self._parts.aclose()

    async def _drain(self) -> None:
        shutdown = self._assembly.definitions.shutdown
        self._assembly.surroundings.draining = True
        self._health.drain()
        self._log.info("draining", drain_delay=shutdown.drain_delay, grace=shutdown.grace)
        await self._unless_at_once(shutdown.drain_delay)
        for listener in self._assembly.listeners:
            listener.stop_accepting()
            listener.close_idle()
        end = monotonic() + shutdown.grace
        while self._open_streams() and monotonic() < end and not self._at_once.is_set():
            await self._unless_at_once(_LOOK)
        cut = self._open_streams()
        for listener in self._assembly.listeners:
            listener.abort()
        self._log.info("stopped", streams_cut=cut)

    async def _unless_at_once(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._at_once.wait(), seconds)
        except TimeoutError:
            return

    def _open_streams(self) -> int:
        return sum(listener.open_streams for listener in self._assembly.listeners)
