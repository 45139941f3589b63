"""The life of the process: load, bind, serve, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import signal
from typing import TYPE_CHECKING

import structlog

from proxy.clock import SystemClock
from proxy.definitions.load import load
from proxy.observe.logging import configure
from proxy.outbound.resolve import Resolver
from proxy.runtime.assemble import assemble
from proxy.runtime.service import Service

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxy.definitions.models import Definitions
    from proxy.errors import Fault
    from proxy.exchange.record import Recorder


def run(paths: Sequence[Path]) -> int:
    """Run the proxy on the definitions at `paths` until it is told to stop; returns the exit status.

    Raises `DefinitionsError` (78) and `MachineError` (71) before anything is served.
    """
    loaded = load(paths, os.environ)
    _raise_descriptor_limit()
    logs = configure(loaded.definitions.log, SystemClock())
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_serve(loaded.definitions, loaded.warnings, logs.access))
    finally:
        logs.close()
    return 0


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(definitions: Definitions, warnings: Sequence[Fault], recorder: Recorder | None) -> None:
    log = structlog.get_logger()
    for warning in warnings:
        log.warning("definitions", warning=warning.code, place=str(warning))
    proxy = assemble(
        definitions,
        clock=SystemClock(),
        entropy=random.SystemRandom(),
        recorder=recorder,
        resolver=Resolver(),
    )
    service = Service(proxy)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    await service.start()
    # What lives until the end is not worth looking at again; a request makes few cycles, so the collector may be lazy.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    await service.run()
