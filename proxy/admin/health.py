"""When the proxy is started, ready, draining: computed from the connections' status, so that no event can be missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.admin.status import AUTHORIZATION_REQUIRED, NOT_APPLICABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.admin.status import ConnectionStatus


class Health:
    """The answers of `/readyz` and `/startupz`. The runtime says when the listeners are open and when it drains."""

    def __init__(
        self,
        connections: Callable[[], Sequence[ConnectionStatus]],
        store_ready: Callable[[], bool] = lambda: True,
        workers_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._workers_ready = workers_ready
        self._connections = connections
        self._store_ready = store_ready
        self._open = False
        self._ready = False
        self._started = False
        self._draining = False

    def opened(self) -> None:
        """Every listener is open."""
        self._open = True

    def drain(self) -> None:
        """The proxy is about to end."""
        self._draining = True

    @property
    def ready(self) -> bool:
        """Listeners are open, a required store has answered, each required connection has had a token.

        It stays so until the proxy drains, while every worker serves.
        """
        if self._open and not self._ready:
            self._ready = self._store_ready() and not waited_for(self._connections())
        return self._ready and not self._draining and self._workers_ready()

    @property
    def started(self) -> bool:
        """Listeners are open and each prefetch was attempted; whether it brought a token does not matter."""
        if self._open and not self._started:
            self._started = all(_attempted(status) for status in self._connections() if status.prefetch)
        return self._started

    def report(self) -> str:
        """Return one line for the whole, and one for each connection: name, state, whether readiness waits for it."""
        connections = self._connections()
        awaited = waited_for(connections) if not self._ready else ()
        lines = ["draining" if self._draining else "listeners open" if self._open else "listeners not open"]
        if not self._ready and not self._store_ready():
            lines.append("store (awaited)")
        if not self._workers_ready():
            lines.append("workers (awaited)")
        lines += [f"{each.name} {each.state}{' (awaited)' * (each.name in awaited)}" for each in connections]
        return "\n".join(lines) + "\n"


def waited_for(connections: Iterable[ConnectionStatus]) -> tuple[str, ...]:
    """Return the required connections that have never had a token."""
    return tuple(
        status.name
        for status in connections
        if status.required and status.state != NOT_APPLICABLE and status.last_renewal_at is None
    )


def _attempted(status: ConnectionStatus) -> bool:
    if status.state in (NOT_APPLICABLE, AUTHORIZATION_REQUIRED):  # nobody waits for a human
        return True
    return status.last_renewal_at is not None or status.last_error is not None
