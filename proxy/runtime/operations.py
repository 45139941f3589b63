"""What the admin listener sees and does: the parts of the proxy through the ports that it and the metrics state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.admin.pac import Forward
from proxy.admin.ports import Event, Ports, ReloadReport
from proxy.admin.status import ConnectionStatus
from proxy.errors import Refusal
from proxy.observe.collectors import Watched
from proxy.problem import PROBLEMS
from proxy.runtime.ping import ping
from proxy.runtime.reload import Applied, Rejected
from proxy.tokens.issuer import INTERACTIVE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from proxy.admin.ports import Authorizations, TestResult
    from proxy.definitions.models import Connection
    from proxy.exchange.surroundings import Surroundings
    from proxy.histogram import Histogram
    from proxy.runtime.parts import Part
    from proxy.runtime.stores import Stores
    from proxy.tokens.counters import TokenCounters
    from proxy.tokens.snapshot import Snapshot


class RunningProxy:
    """Fills the ports of `admin` and feeds the metrics.

    `parts` returns those there are now, by connection; `drain` begins to drain; `reload` reads the definitions anew;
    `forward` returns where the forward listener is, None without one; `authority` the certificate of the local
    authority, None where nothing is intercepted; `stores` are where grants are kept.
    """

    def __init__(
        self,
        parts: Callable[[], Mapping[str, Part]],
        surroundings: Surroundings,
        authorizations: Authorizations,
        drain: Callable[[], None],
        reload: Callable[[], Awaitable[Applied | Rejected]],
        *,
        forward: Callable[[], str | None],
        authority: Callable[[], str | None],
        stores: Stores,
    ) -> None:
        self._parts = parts
        self._surroundings = surroundings
        self._authorizations = authorizations
        self._drain = drain
        self._reload = reload
        self._forward = forward
        self.authority = authority
        self._stores = stores

    @property
    def ports(self) -> Ports:
        """Itself as four of the ports, and who knows of authorizations as the fifth."""
        return Ports(self, self, self._authorizations, self, self)

    def connections(self) -> list[ConnectionStatus]:
        """Return every connection's status."""
        return [_status(part, self._stores) for part in self._parts().values()]

    async def renew(self, name: str) -> None:
        """Renew the token of a connection that has one; raises `TokenUnavailable`."""
        keeper = self._parts()[name].keeper
        if keeper is not None:
            await keeper.renew()

    def events(self, name: str) -> tuple[Event, ...]:
        """Return what happened to a connection's token lately, the newest first."""
        part = self._parts().get(name)
        if part is None or part.keeper is None:
            return ()
        return tuple(Event(each.at, each.kind, each.text) for each in part.keeper.events)

    async def revoke(self, name: str) -> tuple[str, ...]:
        """Give the tokens of a connection back, and forget them."""
        keeper = self._parts()[name].keeper
        if keeper is None:
            raise Refusal(PROBLEMS["no_route"], "this connection needs no token")
        return await keeper.revoke()

    async def test(self, name: str) -> TestResult:
        """Send the connection's ping."""
        return await ping(self._parts()[name], self._surroundings)

    async def reload(self) -> ReloadReport:
        """Read the definitions again; what changed is named, and so is why nothing did."""
        match await self._reload():
            case Applied(changes=changes):
                return ReloadReport(applied=True, changed=(*changes.changed, *changes.added, *changes.removed))
            case Rejected(reasons=reasons):
                return ReloadReport(applied=False, faults=reasons)

    def forward(self) -> Forward | None:
        """Return the forward listener and what the connections claim there."""
        address = self._forward()
        if address is None:
            return None
        return Forward(address, [claim for part in self._parts().values() for claim in part.connection.hosts])

    def quit(self) -> None:
        """Begin to drain; who asks once more changes nothing."""
        self._drain()

    def watched(self) -> list[Watched]:
        """Return what a scrape shows, the requests that belong to no connection among it."""
        return [
            Watched(self._surroundings.unmatched),
            *(_watched(part, self._stores) for part in self._parts().values()),
        ]


class _TokenView:
    """A keeper's snapshot in the words of the metrics."""

    def __init__(self, snapshot: Snapshot, skew: float) -> None:
        self.skew = skew
        self.state = snapshot.state.value
        self.expires_at = snapshot.expires_at


class _TokenRequests:
    """A keeper's counters in the words of the metrics."""

    def __init__(self, counters: TokenCounters) -> None:
        self.outcomes: Mapping[tuple[str, str], int] = counters.requests
        self.duration: Histogram = counters.duration


def _status(part: Part, stores: Stores) -> ConnectionStatus:
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
        redirect_url=keeper.issuer.redirect_url if iclient.grant_type == "authorization_code" else None,
        authorize_url=f"/oauth/start/{connection.name}" if iclient.grant_type in INTERACTIVE else None,
        can_revoke=keeper.can_revoke and snapshot.had_token,
        can_authorize=iclient.grant_type in INTERACTIVE,
        warnings=stores.warnings(connection),
    )


def _watched(part: Part, stores: Stores) -> Watched:
    rules = tuple(rule.name for rule in part.connection.auth_errors.any)
    keeper = part.keeper
    certificates = _certificates(part.connection)
    if keeper is None:
        return Watched(part.plan.counters, certificates=certificates)
    counters = keeper.counters
    grants = tuple(dict.fromkeys(grant for grant, _ in counters.requests))
    return Watched(
        part.plan.counters,
        rules=rules,
        grants=grants,
        token=lambda: _TokenView(keeper.snapshot(), keeper.skew),
        requests=_TokenRequests(counters),
        certificates=certificates,
        at_risk=lambda: stores.at_risk(part.connection),
    )


def _certificates(connection: Connection) -> tuple[tuple[str, float], ...]:
    """Return when the client certificates of a connection expire, by who is shown them."""
    iclient = connection.iclient
    ends = {
        "authorization_server": None if iclient is None else iclient.tls.client_cert_ends,
        "upstream": connection.tls.client_cert_ends,
    }
    return tuple((peer, end) for peer, end in ends.items() if end is not None)
