"""One reload: the definitions are read again and all of what changed is put in place, or nothing is.

Read on a thread, decided by `changes`, built and bound, then put in place between two events of the loop: no request
sees half of it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import DefinitionsError, MachineError
from proxy.runtime.changes import changes
from proxy.runtime.doors import doors
from proxy.runtime.keepers import PREFETCH
from proxy.runtime.parts import Assembly

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from proxy.definitions.load import Loaded
    from proxy.errors import Fault
    from proxy.inbound.listener import Listener
    from proxy.runtime.assemble import Workshop
    from proxy.runtime.changes import Changes
    from proxy.runtime.doors import Key
    from proxy.runtime.parts import Part

_SWITCH: Final = 0.0002  # seconds: less than a request takes, and some hundred times what a switch costs

_AT_ONCE: Final = 0.002  # seconds for which the loop makes parts before it looks after requests


@dataclass(frozen=True, slots=True)
class Applied:
    """The definitions are in force. `retired` and `left` are what they no longer need.

    `addresses` are those of the doors that were opened, `warnings` those of the definitions.
    """

    assembly: Assembly
    changes: Changes
    retired: tuple[Part, ...]
    left: tuple[Listener, ...]
    addresses: tuple[str, ...] = ()
    warnings: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing has changed; `reasons` are codes and words for the operator, without secrets."""

    reasons: tuple[str, ...]


async def reload(
    running: Assembly,
    workshop: Workshop,
    read: Callable[[], Loaded],
    *,
    agreed: Callable[[Assembly], Awaitable[tuple[str, ...]]],
) -> Applied | Rejected:
    """Put what `read` returns in place of what is `running`, unless `agreed` has reasons against it when all is ready.

    The caller says so in the log, starts the new keepers, retires what is no longer needed, and tells operators.
    """
    try:
        with _giving_way():
            loaded, decided = await asyncio.to_thread(_look, running, workshop, read)
    except DefinitionsError as error:
        return Rejected(tuple(f"{fault.code}: {fault}" for fault in error.faults))
    except MachineError as error:
        return Rejected((f"{error.code}: {error}",))
    parts: dict[str, Part] = {}
    listeners: dict[Key, Listener] = {}
    async with AsyncExitStack() as undo:
        undo.push_async_callback(_discard, running, parts, listeners)
        try:
            await _make_parts(running, workshop, decided, parts)
            contexts = {door.key: workshop.tls(door) for door in decided.renewed}
            addresses = await _open(workshop, decided, parts, listeners)
        except MachineError as error:
            return Rejected((f"{error.code}: {error}",))
        wanted = {
            door.key: listeners.get(door.key) or running.listeners[door.key] for door in doors(decided.definitions)
        }
        assembly = Assembly(decided.definitions, parts, wanted, workshop.authority)
        if reasons := await agreed(assembly):
            return Rejected(reasons)
        undo.pop_all()
    for key, context in contexts.items():
        running.listeners[key].change_tls(context)
    for door in decided.kept_doors:
        running.listeners[door.key].change_rules(workshop.rules(door, parts))
    return Applied(
        assembly,
        decided,
        retired=tuple(running.parts[name] for name in (*decided.changed, *decided.removed)),
        left=tuple(running.listeners[door.key] for door in decided.closed),
        addresses=tuple(addresses),
        warnings=loaded.warnings,
    )


@contextmanager
def _giving_way() -> Iterator[None]:
    """Let a thread that computes give way to the loop at once, whenever there is something for it to do.

    Otherwise the loop waits up to 5 ms each time, twice for each request; and the collector, which stops everybody,
    goes through what the thread is building. Measured with 1,000 connections: docs/performance.md.
    """
    usual, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(_SWITCH)
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
        if collects:
            gc.enable()


def _look(running: Assembly, workshop: Workshop, read: Callable[[], Loaded]) -> tuple[Loaded, Changes]:
    """Do what takes long and changes nothing: reading, comparing, reading certificates."""
    loaded = read()
    workshop.prepare(loaded.definitions)
    return loaded, changes(running.definitions, loaded.definitions)


async def _make_parts(running: Assembly, workshop: Workshop, decided: Changes, parts: dict[str, Part]) -> None:
    """Fill `parts`: those that are kept are the very same. Requests go on between the others: they take a while."""
    kept, before = set(decided.kept), running.parts
    began = monotonic()
    for each in decided.definitions.connections:
        if each.name in kept:
            parts[each.name] = before[each.name]
            continue
        parts[each.name] = workshop.part(each, spread=PREFETCH, before=before.get(each.name))
        if monotonic() - began > _AT_ONCE:
            await asyncio.sleep(0)
            began = monotonic()


async def _discard(running: Assembly, parts: Mapping[str, Part], opened: Mapping[Key, Listener]) -> None:
    """Let go of what was made for nothing."""
    for listener in opened.values():
        listener.stop_accepting()
        listener.abort()
    for name, part in parts.items():
        if running.parts.get(name) is not part:
            await part.close_streams()


async def _open(
    workshop: Workshop, decided: Changes, parts: Mapping[str, Part], opened: dict[Key, Listener]
) -> list[str]:
    """Open the new listeners one after the other, into `opened`; return their addresses. Raises `MachineError`."""
    addresses = []
    for door in decided.opened:
        listener = workshop.listener(door, parts)
        addresses.append(await listener.start())
        opened[door.key] = listener
    return addresses


def tell(applied: Applied) -> None:
    """Say in the log what was opened, and what the operator should know."""
    log = structlog.get_logger()
    for door, address in zip(applied.changes.opened, applied.addresses, strict=True):
        log.info("listening", listener=door.name, address=address)
    for warning in applied.warnings:
        log.warning("definitions", warning=warning.code, place=str(warning))
    if applied.changes.needs_restart:
        log.warning("restart_needed", settings=", ".join(applied.changes.needs_restart))
