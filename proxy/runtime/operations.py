"""What the admin listener sees and does: the parts of the proxy through the ports that it and the metrics state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.admin.status import ConnectionStatus
from proxy.observe.collectors import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.exchange.record import ConnectionCounters
    from proxy.histogram import Histogram
    from proxy.runtime.assemble import Part
    from proxy.tokens.counters import TokenCounters
    from proxy.tokens.keeper import Snapshot


class RunningProxy:
    """Fills the port `Operations` of `admin` and feeds the metrics.

    `parts` returns those there are now, by connection; `stop` begins to drain.
    """

    def __init__(
        self, parts: Callable[[], Mapping[str, Part]], unmatched: ConnectionCounters, stop: Callable[[], None]
    ) -> None:
        self._parts = parts
        self._unmatched = unmatched
        self._stop = stop

    def connections(self) -> list[ConnectionStatus]:
        """Return every connection's status."""
        return [_status(part) for part in self._parts().values()]

    async def renew(self, name: str) -> None:
        """Renew the token of a connection that has one; raises `TokenUnavailable`."""
        keeper = self._parts()[name].keeper
        if keeper is not None:
            await keeper.renew()

    def quit(self) -> None:
        """Begin to drain."""
        self._stop()

    def watched(self) -> list[Watched]:
        """Return what a scrape shows, the requests that belong to no connection among it."""
        return [Watched(self._unmatched), *(_watched(part) for part in self._parts().values())]


class _TokenView:
    """A keeper's snapshot in the words of the metrics."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.state = snapshot.state.value
        self.expires_at = snapshot.expires_at


class _TokenRequests:
    """A keeper's counters in the words of the metrics."""

    def __init__(self, counters: TokenCounters) -> None:
        self.outcomes: Mapping[tuple[str, str], int] = counters.requests
        self.duration: Histogram = counters.duration


def _status(part: Part) -> ConnectionStatus:
    connection, iclient, keeper = part.connection, part.connection.iclient, part.keeper
    if iclient is None or keeper is None:
        return ConnectionStatus(connection.name, required=connection.required, prefetch=connection.prefetch)
    snapshot = keeper.snapshot()
    return ConnectionStatus(
        connection.name,
        iclient=iclient.name,
        grant_type=iclient.grant_type,
        state=snapshot.state.value,
        expires_at=snapshot.expires_at,
        last_renewal_at=snapshot.last_renewal_at,
        last_error=snapshot.last_error,
        next_action=snapshot.next_action.value,
        next_attempt_at=snapshot.next_attempt_at,
        required=connection.required,
        prefetch=connection.prefetch,
    )


def _watched(part: Part) -> Watched:
    rules = tuple(rule.name for rule in part.connection.auth_errors.any)
    keeper = part.keeper
    if keeper is None:
        return Watched(part.plan.counters)
    counters = keeper.counters
    grants = tuple(dict.fromkeys(grant for grant, _ in counters.requests))
    return Watched(
        part.plan.counters,
        rules=rules,
        grants=grants,
        token=lambda: _TokenView(keeper.snapshot()),
        requests=_TokenRequests(counters),
    )
