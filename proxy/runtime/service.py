"""A running proxy: started, reloaded, drained, stopped."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Final, assert_never

import structlog

from proxy.admin.health import Health
from proxy.definitions.binds import bind_text
from proxy.definitions.settings import seen_from_here
from proxy.inbound.bind import bind_socket, bound_at, printable_address
from proxy.oauth.redirect import admin_base
from proxy.observe.collectors import LastReload, Metrics
from proxy.observe.redact import Redactor
from proxy.runtime.authorizations import BrowserAuthorizations
from proxy.runtime.memory import MemoryWatch, give_back
from proxy.runtime.operations import RunningProxy
from proxy.runtime.others import Others
from proxy.runtime.reload import Applied, Rejected, reload, tell
from proxy.runtime.shares import admin_streams
from proxy.runtime.turns import Turns
from proxy.runtime.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.admin.server import AdminServer
    from proxy.clock import Clock
    from proxy.definitions.load import Loaded
    from proxy.definitions.settings import AdminListener
    from proxy.exchange.pressure import Pressure
    from proxy.inbound.listener import Listener
    from proxy.runtime.assemble import Workshop
    from proxy.runtime.cgroup import Cgroup
    from proxy.runtime.parts import Assembly, Part
    from proxy.runtime.watch import Watch
    from proxy.tokens.keeper import Keeper

_LOOK: Final = 0.05  # seconds between looks at whether the last exchange has ended
_REVOKE_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 3.0
_TIDY: Final = 0.5  # seconds after a reload by which most of what it retired has ended
_FEW: Final = 100
_RELOAD_PAUSE: Final = 1.0  # seconds from one reload to the next: who asks a hundred times a second is served once


class Service:
    """Starts the parts of an assembly in order and stops them in the opposite one.

    `read` reads the definitions anew, when somebody asks for it or `watch` finds that they have changed.

    A first `stop` drains: listeners accept for `drain_delay`, answers carry `Connection: close`, exchanges under way
    have `grace` to end. A second one ends at once. `drain` (of /quitquitquit) may come as often as it likes.
    """

    def __init__(
        self,
        workshop: Workshop,
        assembly: Assembly,
        read: Callable[[], Loaded],
        clock: Clock,
        watch: Watch,
        cgroup: Cgroup | None = None,
        lines_dropped: Callable[[], int] = lambda: 0,
        others: Others | None = None,
    ) -> None:
        self._others = others if others is not None else Others()
        self._workshop = workshop
        self._assembly = assembly
        self._read = read
        self._cgroup = cgroup
        self._lines_dropped = lines_dropped
        self._clock = clock
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._asked_to_stop = False
        self._at_once = asyncio.Event()
        self._opened = AsyncExitStack()
        self._leaving: list[Listener] = []  # listeners that a reload closed, while they have streams
        self._retiring: dict[asyncio.Task[None], Keeper] = {}
        self._turns = Turns(self._reload, "reload", _RELOAD_PAUSE)
        self._watcher = Watcher(watch, self.reload, lambda: self._turns.is_busy)
        self._admin_at: tuple[str, int] | None = None
        self._last_reload = LastReload(clock.wall())
        self._redact = Redactor()
        self._log = structlog.get_logger()
        self._operations = RunningProxy(
            lambda: self._assembly.parts,
            workshop.surroundings,
            BrowserAuthorizations(lambda: self._assembly.parts, workshop.randbytes, clock.monotonic),
            self.drain,
            self.reload,
            forward=self._forward_address,
            authority=lambda: self._assembly.authority,
            stores=workshop.stores,
        )
        self._health = Health(self._operations.connections, lambda: workshop.stores.ready, lambda: self._others.ready)

    def drain(self) -> None:
        """Drain, then end; when draining already, go on so."""
        self._stopping.set()

    def stop(self) -> None:
        """Drain; end at once when this was asked before. After `drain` it is the first time: a pod that a Job ends."""
        if self._asked_to_stop:
            self._at_once.set()
        self._asked_to_stop = True
        self._stopping.set()

    def reload(self) -> asyncio.Future[Applied | Rejected]:
        """Read the definitions again and apply them, all or nothing; return the outcome, which may be shared.

        One reload at a time, and one more for all who ask meanwhile. A proxy that drains reloads no more.
        """
        return self._turns.ask()

    async def start(self) -> None:
        """Bind every listener, or none: raises `MachineError`. Tokens are fetched from then on."""
        assembly = self._assembly
        admin = assembly.definitions.listeners.admin
        if admin is not None:  # it takes 0.2 s, in which nobody who was let in should have to wait
            import proxy.admin.server  # noqa: F401
        async with AsyncExitStack() as opened:
            self._workshop.sweep.start()
            if self._cgroup is not None:
                memory = MemoryWatch(self._cgroup, self._workshop.surroundings, self._give_back)
                memory.start()
                opened.callback(memory.stop)
            opened.push_async_callback(self._close)
            for listener in assembly.listeners.values():
                address = await listener.start()
                self._guard()
                self._log.info("listening", listener=listener.name, address=address)
            if admin is not None:
                opened.push_async_callback((await self._start_admin(admin)).close)
            self._opened = opened.pop_all()
        await self._workshop.stores.start(self._heard)
        await self._others.start(assembly)
        for part in assembly.parts.values():
            if part.keeper is not None:
                part.keeper.start()
        self._health.opened()
        self._watcher.start(asyncio.get_running_loop())
        self._started.set()

    async def _start_admin(self, settings: AdminListener) -> AdminServer:
        # A fifth of the memory of a proxy at rest (46 MiB, 38 without), which one without that listener does not pay.
        from proxy.admin.server import AdminServer

        counters = self._workshop.surroundings.counters
        metrics = Metrics(
            counters,
            self._operations.watched,
            version("iclient-proxy"),
            self._last_reload,
            lambda: self._workshop.stores.available,
            self._lines_dropped,
            self._workshop.surroundings.count,
            self._others.gather,
        )
        server = AdminServer(
            settings,
            self._operations.ports,
            self._health,
            metrics.scrape,
            clock=self._clock,
            streams_max=admin_streams(),
        )
        sock = bind_socket(settings.bind, "admin listener")
        address = printable_address(sock)
        self._admin_at = bound_at(sock)
        self._guard()
        self._workshop.admin_base = admin_base(settings, self._admin_at[1] if self._admin_at is not None else None)
        await server.start(sock)
        self._log.info("listening", listener="admin", address=address)  # not sooner: until then it refuses
        return server

    def _forward_address(self) -> str | None:
        """Return where browsers on this machine find the forward listener; None where it is none for them."""
        at = next((each.at for each in self._assembly.listeners.values() if each.name == "forward"), None)
        if at is None:
            return None
        host = seen_from_here(at[0])
        return f"[{host}]:{at[1]}" if ":" in host else f"{host}:{at[1]}"

    def _guard(self) -> None:
        """No request that the proxy relays may come back to it."""
        listening = (*(each.at for each in self._listeners()), self._admin_at)
        own = frozenset(at for at in listening if at is not None)
        self._workshop.guard(self._assembly.definitions, own)
        self._others.guard(own)

    async def run(self) -> None:
        """Serve until told to stop, then drain and end."""
        try:
            await self._stopping.wait()
            await self._drain()
        finally:
            await self._opened.aclose()

    def _give_back(self, pressure: Pressure) -> None:
        give_back(pressure, self._listeners(), self._workshop.stream_limit.pools)

    def _heard(self, name: str) -> None:
        """Look at the store: another replica has saved something for that connection, or the server is back."""
        part = self._assembly.parts.get(name)
        if part is not None and part.keeper is not None:
            part.keeper.heard()

    # Reload

    async def _reload(self) -> Applied | Rejected:
        await self._started.wait()
        if self._stopping.is_set():
            return Rejected(("draining: the proxy is about to end",))
        began = monotonic()
        outcome: Applied | Rejected
        try:
            outcome = await reload(self._assembly, self._workshop, self._read, agreed=self._agree)
        except Exception:  # noqa: BLE001 a mistake of ours must not end what serves
            self._log.exception("reload_failed")
            outcome = Rejected(("internal_error: the log says why",))
        if self._stopping.is_set():
            return outcome
        milliseconds = round((monotonic() - began) * 1000, 1)
        match outcome:
            case Applied():
                self._applied(outcome)
                await self._others.applied()
                self._say_applied(outcome, milliseconds)
            case Rejected(reasons=reasons):
                self._last_reload.successful = False
                # They go to whoever asked, too; what serves now is known, in whatever place somebody wrote it.
                outcome = Rejected(tuple(self._redact(reason.encode()).decode() for reason in reasons))
                faults = "; ".join(outcome.reasons)
                self._log.error("reload", outcome="rejected", count=len(reasons), faults=faults, ms=milliseconds)
            case _:
                assert_never(outcome)
        return outcome

    async def _agree(self, assembly: Assembly) -> tuple[str, ...]:
        reasons = await self._others.agree(assembly)
        if self._stopping.is_set():
            reasons = ("draining: the proxy is about to end",)
        if reasons:
            self._others.abandon()
        return reasons

    def _applied(self, outcome: Applied) -> None:
        tell(outcome)
        self._assembly = outcome.assembly
        self._others.commit(outcome.assembly)
        self._last_reload.successful, self._last_reload.succeeded_at = True, self._clock.wall()
        self._guard()
        changes = outcome.changes
        for name in (*changes.changed, *changes.added):
            keeper = outcome.assembly.parts[name].keeper
            if keeper is not None:
                keeper.start()
        for part in outcome.retired:
            self._retire(part)
        if 0 < len(outcome.retired) <= _FEW:
            # The collector is lazy (see `run`), and what was retired holds itself: it would be found megabytes later.
            # Many of them make it look by themselves, and are not worth a stop of 80 ms now.
            asyncio.get_running_loop().call_later(_TIDY, gc.collect)
        for listener in outcome.left:
            listener.retire()
        self._leaving = [each for each in (*self._leaving, *outcome.left) if each.open_streams]

    def _say_applied(self, outcome: Applied, milliseconds: float) -> None:
        changes = outcome.changes
        self._log.info(
            "reload",
            outcome="applied",
            kept=len(changes.kept),
            changed=", ".join(changes.changed),
            added=", ".join(changes.added),
            removed=", ".join(changes.removed),
            certificates=", ".join(bind_text(door.settings.bind) for door in changes.renewed),
            ms=milliseconds,
        )

    def _retire(self, part: Part) -> None:
        part.retire_streams()
        if part.keeper is not None:
            task = asyncio.create_task(part.keeper.retire(), name=f"retire the keeper of {part.connection.name}")
            self._retiring[task] = part.keeper
            task.add_done_callback(self._retiring.pop)

    # Stop

    async def _drain(self) -> None:
        shutdown = self._assembly.definitions.shutdown
        # A start that is broken off: it has never been ready and nobody has called, so nobody has to be led elsewhere.
        is_known = self._health.ready or self._workshop.count.accepted > 0 or self._others.has_served
        self._workshop.surroundings.drain()
        self._others.drain()
        self._watcher.stop()
        self._health.drain()
        self._log.info("draining", drain_delay=shutdown.drain_delay, grace=shutdown.grace)
        if is_known:
            await self._unless_at_once(shutdown.drain_delay)
        for listener in self._listeners():
            listener.stop_accepting()
            listener.close_idle()
        self._others.leave()
        end = monotonic() + shutdown.grace
        while self._open_streams() and monotonic() < end and not self._at_once.is_set():
            await self._unless_at_once(_LOOK)
        cut = sum(listener.open_streams for listener in self._listeners())
        for listener in self._listeners():
            listener.abort()
        cut += await self._others.cut()
        if shutdown.revoke:
            await self._revoke()
        self._log.info("stopped", streams_cut=cut)

    async def _revoke(self) -> None:
        """Give all tokens back; whoever ends the process does not wait for ever (T-98)."""
        keepers = [part.keeper for part in self._assembly.parts.values() if part.keeper is not None]
        leaving = [keeper.farewell() for keeper in keepers if keeper.can_revoke]
        try:
            async with asyncio.timeout(_REVOKE_SECONDS):
                ends = await asyncio.gather(*leaving, return_exceptions=True)
        except TimeoutError:
            self._log.warning("revocation_unfinished", seconds=_REVOKE_SECONDS)
            return
        for error in ends:
            if error is not None:  # a mistake of ours; it must not stand in the way of the end
                self._log.error("revocation", outcome="internal", error=type(error).__name__)

    async def _close(self) -> None:
        """Close everything but the admin listener, which is closed by now."""
        self._watcher.stop()
        await self._turns.close()
        await self._others.close()
        for listener in self._listeners():
            listener.stop_accepting()
        parts = self._assembly.parts.values()
        keepers = (*(part.keeper for part in parts), *self._retiring.values())
        # At once: each that renews gives its turn back, and a thousand of those, or a slow store, would outlast the
        # patience of whoever ends the process. A turn that is not given back ends by itself.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*(keeper.close() for keeper in keepers if keeper is not None))
                await asyncio.gather(*self._retiring)
        for pool in self._workshop.stream_limit.pools[:]:
            await pool.close()
        await self._workshop.stores.close()
        await self._workshop.close()
        self._workshop.sweep.stop()

    async def _unless_at_once(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._at_once.wait(), seconds)
        except TimeoutError:
            return

    def _listeners(self) -> list[Listener]:
        return [*self._assembly.listeners.values(), *self._leaving]

    def _open_streams(self) -> int:
        return sum(listener.open_streams for listener in self._listeners()) + self._others.open_streams
