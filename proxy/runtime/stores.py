"""Where the grants of this process are kept, what it means for readiness, and which grant a restart would lose now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.definitions.settings import FileStore
from proxy.outbound.tls import client_context
from proxy.tokens.issuer import BROUGHT

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from proxy.clock import Clock
    from proxy.definitions.models import Connection, Definitions
    from proxy.tokens.store.file import GrantFolder
    from proxy.tokens.store.redis import GrantServer

# Seconds that the turn to renew outlives the longest token request, so that nobody takes it from one who is only slow.
_SPARE: Final = 5.0
_FORGETS: Final = "The store is memory: a restart loses this grant, or what its refresh token was rotated to."
_UNSAVED: Final = "The store does not have the newest grant yet: a restart now loses it."
_AWAY: Final = "The store does not answer. Until it does, "
_CONSEQUENCES: Final = {
    "hold": "no refresh token is used: the access token serves until it expires.",
    "refresh": "this proxy renews by itself, and saves it later.",
}


class Stores:
    """The grants in a folder or on a server; neither is given where memory keeps them."""

    def __init__(self, folder: GrantFolder | None = None, server: GrantServer | None = None) -> None:
        self._folder = folder
        self._server = server

    @property
    def grants(self) -> GrantFolder | GrantServer | None:
        """What has a store for each connection; None: memory."""
        return self._folder if self._folder is not None else self._server

    @property
    def errors(self) -> dict[str, int]:
        """What could not be done, by operation."""
        return self.grants.errors if self.grants is not None else {}

    @property
    def available(self) -> bool | None:
        """Whether the server does what it is asked; None where there is none."""
        return self._server.available if self._server is not None else None

    @property
    def ready(self) -> bool:
        """Whether the server has answered, where the proxy is not ready before."""
        return self._server is None or self._server.ready

    def at_risk(self, connection: Connection) -> bool:
        """Tell whether a restart now would lose what a human or the operator brought, or its rotation."""
        if connection.iclient is None or connection.iclient.grant_type not in BROUGHT:
            return False
        return self.grants is None or self.grants.unsaved(connection.name)

    def warnings(self, connection: Connection) -> tuple[str, ...]:
        """Return what the status page says of a connection that has an iClient."""
        warnings = []
        if self.at_risk(connection):
            warnings.append(_FORGETS if self.grants is None else _UNSAVED)
        if self._server is not None and not self._server.available:
            warnings.append(_AWAY + _CONSEQUENCES[self._server.settings.on_failure])
        return tuple(warnings)

    async def start(self, heard: Callable[[str], None]) -> None:
        """Begin to hear of other replicas: `heard` gets the name of a connection for which one saved something."""
        if self._server is not None:
            await self._server.start(heard)

    async def close(self) -> None:
        """End, with all saved that can be."""
        if self._server is not None:
            await self._server.close()
        if self._folder is not None:
            self._folder.close()


def open_stores(definitions: Definitions, entropy: Random, clock: Clock) -> Stores:
    """Open what the definitions ask for. Raises `MachineError` for a folder; that a server is away is no error."""
    settings = definitions.store
    if settings is None:
        return Stores()
    # These load cryptography, and redis-py, which a store in memory does without.
    if isinstance(settings, FileStore):
        from proxy.tokens.store.file import GrantFolder

        return Stores(folder=GrantFolder(settings, entropy.randbytes))
    from proxy.tokens.store.redis import GrantServer

    context = client_context(settings.tls, alpn=()) if settings.tls is not None else None
    lease = definitions.limits.token_total + _SPARE
    return Stores(server=GrantServer(settings, entropy.randbytes, clock, lease=lease, context=context))


def forgotten(definitions: Definitions) -> tuple[str, ...]:
    """Return the connections whose grant a restart loses: a human or the operator brought it, memory keeps it."""
    if definitions.store is not None:
        return ()
    connections = definitions.connections
    return tuple(each.name for each in connections if each.iclient is not None and each.iclient.grant_type in BROUGHT)
