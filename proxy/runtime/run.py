"""The life of the process: load, bind, serve, reload, drain, stop."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from proxy.clock import SystemClock
from proxy.definitions.load import load
from proxy.definitions.notation.footprint import Footprint
from proxy.definitions.notation.sealed import KEY
from proxy.observe.logging import configure
from proxy.observe.traces import spans
from proxy.outbound.resolve import Resolver
from proxy.runtime.assemble import Workshop
from proxy.runtime.cgroup import ROOT, open_cgroup
from proxy.runtime.environment import Environment, forget
from proxy.runtime.machine import keep_large_blocks, new_loop, raise_descriptor_limit, settle_heap
from proxy.runtime.service import Service
from proxy.runtime.stores import forgotten, open_stores
from proxy.runtime.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.clock import Clock
    from proxy.definitions.load import Loaded
    from proxy.exchange.record import Recorder
    from proxy.exchange.traced import Sampler
    from proxy.observe.logging import Logs
    from proxy.runtime.workers.start import Shared

# Seconds from the start of the process within which the first tokens are fetched, so that a thousand connections do not
# ask in one instant. What starting took counts: an orchestrator waits for both.
_SPREAD: Final = 0.8
_SPREAD_MIN: Final = 0.25
# Kubernetes tells every container where its API server is (Service environment variables).
API_SERVER: Final = "KUBERNETES_SERVICE_HOST"
# Variables that are secrets whether definitions name them or not.
_KEYS: Final = (KEY, "ICLIENT_PROXY_ADMIN_TOKEN")
# Where OpenTelemetry's SDK, and nothing else, looks for the credential of the collector.
HEADERS: Final = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


def run(paths: Sequence[Path], cgroups: Path = ROOT, program: Sequence[str] = ()) -> int:
    """Run the proxy on the definitions at `paths` until it is told to stop; returns the exit status.

    `cgroups` is where the kernel shows limits of memory, `program` the command that runs the product, its verb not
    included.

    Raises `DefinitionsError` (78) and `MachineError` (71) before anything is served.
    """
    hung_up: list[int] = []  # a SIGHUP before there is a loop must not end the process
    signal.signal(signal.SIGHUP, lambda number, _: hung_up.append(number))
    if os.getpid() == 1:
        # Process 1 of a container inherits what others leave behind (probes that fork), for the kernel to bury.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    environ = Environment(os.environ)  # reloads see what the start saw
    forget(_KEYS, os.environ)
    clock = SystemClock()

    watch = Watch(paths)

    def read() -> Loaded:
        footprint = Footprint()
        try:
            found = load(paths, environ, clock, footprint=footprint)
        finally:
            watch.take(footprint)  # that of a fault, too: the same content is not tried again
        forget(found.variables, os.environ)
        return found

    loaded = read()
    raise_descriptor_limit()
    keep_large_blocks()
    shared = None
    if loaded.definitions.workers > 1:
        from proxy.runtime.workers.start import Shared

        shared = Shared(loaded.definitions, program, environ, cgroups)
    logs = configure(
        loaded.definitions.log,
        clock,
        colours=not os.environ.get("NO_COLOR"),
        lock=shared.lock if shared is not None else None,
    )
    try:
        with spans(environ, clock, logs.access) as sent, asyncio.Runner(loop_factory=new_loop) as runner:
            forget(HEADERS, os.environ)  # whoever sends spans has read them
            recorder = logs.access if sent is None else sent
            runner.run(
                _serve(
                    loaded, read, clock, recorder, sent, watch, hung_up, environ.get(API_SERVER), cgroups, logs, shared
                )
            )
    finally:
        logs.close()
    return 0


def _age() -> float:
    """Return the seconds since this process began, 0 where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): starttime is field 22, the third after the name
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, ValueError, AttributeError):
        return 0.0


async def _serve(
    loaded: Loaded,
    read: Callable[[], Loaded],
    clock: Clock,
    recorder: Recorder | None,
    sampler: Sampler | None,
    watch: Watch,
    hung_up: list[int],
    api_server: str | None,
    cgroups: Path,
    logs: Logs,
    shared: Shared | None,
) -> None:
    log = structlog.get_logger()
    for warning in loaded.warnings:
        log.warning("definitions", warning=warning.code, place=str(warning))
    if names := forgotten(loaded.definitions):
        log.warning(
            "grants_in_memory", connections=", ".join(names), remedy="store: {kind: file} or {kind: redis} keeps them"
        )
    entropy = random.SystemRandom()
    cgroup = open_cgroup(cgroups)
    workshop = (Workshop if shared is None else shared.workshop)(
        loaded.definitions,
        clock=clock,
        entropy=entropy,
        recorder=recorder,
        sampler=sampler,
        resolver=Resolver(),
        stores=open_stores(loaded.definitions, entropy, clock),
        api_server=api_server,
        memory_limit=cgroup.limit() if cgroup is not None else None,
    )
    assembly = workshop.assemble(loaded.definitions, spread=max(_SPREAD_MIN, _SPREAD - _age()))
    supervisor = shared.supervisor(workshop, assembly, cgroup) if shared is not None else None
    service = Service(workshop, assembly, read, clock, watch, cgroup, lambda: logs.sink.dropped, supervisor)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    on_terminal = os.isatty(0)

    def hang_up() -> None:
        # The one signal has two meanings: an operator's "read again", or a terminal that is no more.
        if on_terminal and not os.isatty(0):
            service.stop()
        else:
            service.reload()

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    if hung_up:
        service.reload()
    await service.start()
    settle_heap()
    await service.run()
