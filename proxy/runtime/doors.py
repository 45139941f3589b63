"""Which listeners the definitions ask for, and whose routes each one serves. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.definitions.settings import ForwardListener, ReverseListener

if TYPE_CHECKING:
    from proxy.definitions.models import Definitions
    from proxy.definitions.settings import Bind

    Key = tuple[str, Bind, str]


@dataclass(frozen=True, slots=True)
class Door:
    """One listener of the data path. `name` is its kind: `reverse`, `forward`, or `route`, one connection's own.

    `connections` have a route on it, or claim hosts there. `which` tells doors with the same bind apart, since port 0
    may be asked for often.
    """

    name: str
    settings: ReverseListener | ForwardListener
    connections: tuple[str, ...]
    which: str = ""

    @property
    def key(self) -> Key:
        """By which a reload knows a door again."""
        return self.name, self.settings.bind, self.which


def doors(definitions: Definitions) -> tuple[Door, ...]:
    """Return the listeners of the data path in the order of the definitions."""
    found: list[Door] = []
    routes = [(each.name, each.route) for each in definitions.connections if each.route is not None]
    shared = tuple(name for name, route in routes if route.bind is None)
    if shared:
        binds: list[Bind] = []
        for settings in definitions.listeners.reverse:
            found.append(Door("reverse", settings, shared, str(binds.count(settings.bind))))
            binds.append(settings.bind)
    for name, route in routes:
        if route.bind is not None:
            which = "" if route.bind.port else name
            found.append(Door("route", ReverseListener(bind=route.bind), (name,), which))
    forward = definitions.listeners.forward
    if forward is not None:
        found.append(Door("forward", forward, tuple(each.name for each in definitions.connections if each.hosts)))
    return tuple(found)
