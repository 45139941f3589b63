"""What a reload keeps, makes anew, adds and removes, and what of it needs a restart. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

from proxy.definitions.binds import bind_text
from proxy.definitions.settings import ForwardListener, Listeners, ReverseListener
from proxy.runtime.doors import doors

if TYPE_CHECKING:
    from proxy.definitions.models import Definitions
    from proxy.runtime.doors import Door

# Sections that the running parts were built from once.
_FIXED: Final = ("limits", "log", "shutdown")


@dataclass(frozen=True, slots=True)
class Changes:
    """What one reload does. `definitions` are those in force afterwards: what needs a restart is as before in them.

    The other fields but the last hold names of connections and doors, in the order of the definitions they come from.
    `renewed` are kept doors whose certificate, key or authority of clients is another one. `needs_restart` names the
    settings that differ and are not applied.
    """

    definitions: Definitions
    kept: tuple[str, ...]
    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    kept_doors: tuple[Door, ...]
    opened: tuple[Door, ...]
    closed: tuple[Door, ...]
    renewed: tuple[Door, ...]
    needs_restart: tuple[str, ...]


def changes(running: Definitions, wanted: Definitions) -> Changes:
    """Return how to come from the definitions in force to those that are wanted."""
    after, needs_restart = _in_force(running, wanted)
    before = {connection.name: connection for connection in running.connections}
    names = [connection.name for connection in after.connections]
    # The whole value is compared, secrets and the text of certificates among it.
    kept = {each.name for each in after.connections if before.get(each.name) == each}
    open_now = {door.key: door.settings for door in doors(running)}
    open_then = {door.key for door in doors(after)}
    return Changes(
        definitions=after,
        kept=tuple(name for name in names if name in kept),
        changed=tuple(name for name in names if name in before and name not in kept),
        added=tuple(name for name in names if name not in before),
        removed=tuple(name for name in before if name not in set(names)),
        kept_doors=tuple(door for door in doors(after) if door.key in open_now),
        opened=tuple(door for door in doors(after) if door.key not in open_now),
        closed=tuple(door for door in doors(running) if door.key not in open_then),
        renewed=tuple(
            door for door in doors(after) if door.key in open_now and _tls(open_now[door.key]) != _tls(door.settings)
        ),
        needs_restart=needs_restart,
    )


def _in_force(running: Definitions, wanted: Definitions) -> tuple[Definitions, tuple[str, ...]]:
    differing = [
        name for name in ("workers", "via", "store", "egress_proxy") if getattr(running, name) != getattr(wanted, name)
    ]
    for section in _FIXED:
        was, would_be = getattr(running, section), getattr(wanted, section)
        differing += [
            f"{section}.{field.name}"
            for field in fields(was)
            if getattr(was, field.name) != getattr(would_be, field.name)
        ]
    if running.listeners.admin != wanted.listeners.admin:
        differing.append("listeners.admin")
    open_now = {door.key: door.settings for door in doors(running)}
    reverse = []
    for door in doors(wanted):
        settings, bound = door.settings, open_now.get(door.key)
        if door.name != "reverse" or not isinstance(settings, ReverseListener):
            continue
        if isinstance(bound, ReverseListener) and _handshake(bound) != _handshake(settings):
            # Both stay: a plain socket does not begin to speak TLS while it is open, and without client certificates
            # a listener that relied on them would let everybody in.
            differing.append(f"tls and auth of {bind_text(settings.bind)}")
            settings = replace(settings, tls=bound.tls, auth=bound.auth)
        reverse.append(settings)
    after = replace(
        wanted,
        workers=running.workers,
        via=running.via,
        store=running.store,
        egress_proxy=running.egress_proxy,
        limits=running.limits,
        log=running.log,
        shutdown=running.shutdown,
        listeners=Listeners(reverse=tuple(reverse), forward=wanted.listeners.forward, admin=running.listeners.admin),
    )
    return after, tuple(differing)


def _handshake(settings: ReverseListener) -> tuple[bool, bool]:
    """Return what a bound listener can't change: whether it speaks TLS, and whether that tells it who calls."""
    return settings.tls is not None, settings.auth is not None and settings.auth.client_ca is not None


def _tls(settings: ReverseListener | ForwardListener) -> tuple[object, object]:
    """Return what the TLS of a listener is made from."""
    if isinstance(settings, ForwardListener) or settings.tls is None:
        return None, None
    return settings.tls, settings.auth.client_roots if settings.auth is not None else None
