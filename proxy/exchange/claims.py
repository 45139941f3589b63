"""Which connection a request of the forward listener belongs to: by host, port, path and proxy user name. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Literal, Protocol

from proxy.definitions.domains import canonical_host, is_metadata, parse_url
from proxy.errors import Refusal
from proxy.exchange.aim import Origin
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.definitions.models import Connection
    from proxy.exchange.plan import Plan

Scheme = Literal["https", "http"]
PORTS: Final = {"https": 443, "http": 80}
PLANS_MAX: Final = 256  # of one connection that claims a whole domain, and of all that no connection claims


def prefix_of(origin: Origin) -> bytes:
    """Return the beginning of a URL there, up to its path."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == PORTS[origin.scheme] else f":{origin.port}"
    return f"{origin.scheme}://{host}{port}".encode()


WHICH: Final = "several connections claim this host: the proxy's user name has to be that of the one that is meant"


class Pools(Protocol):
    """The streams that go with a plan."""

    def retire(self) -> None:
        """The plan is given up: what is under way is still served."""
        ...

    async def close(self) -> None:
        """Close what rests and stop dialling."""
        ...


class OriginPlans:
    """Plans by the origin that a request names, at most so many: the one that rested longest makes place for a new one.

    `make` makes a plan and its streams. Once retired, each plan that is still asked for is retired from the beginning.
    """

    __slots__ = ("_make", "_most", "_plans", "_pools", "_retired")

    def __init__(self, make: Callable[[Origin], tuple[Plan, Pools]], most: int = PLANS_MAX) -> None:
        self._make = make
        self._most = most
        self._plans: OrderedDict[Origin, Plan] = OrderedDict()
        self._pools: dict[Origin, Pools] = {}
        self._retired = False

    def at(self, origin: Origin) -> Plan:
        """Return the plan for `origin`."""
        plans = self._plans
        plan = plans.get(origin)
        if plan is not None:
            plans.move_to_end(origin)
            return plan
        if len(plans) >= self._most:
            oldest, _ = plans.popitem(last=False)
            self._pools.pop(oldest).retire()
        plan, pools = self._make(origin)
        plans[origin], self._pools[origin] = plan, pools
        if self._retired:
            pools.retire()
        return plan

    def forget(self) -> None:
        """Give all plans up; each that is asked for again is made anew."""
        for pools in self._pools.values():
            pools.retire()
        self._plans.clear()
        self._pools.clear()

    def retire(self) -> None:
        """The connection is no more: what is under way is still served."""
        self._retired = True
        for pools in self._pools.values():
            pools.retire()

    async def close(self) -> None:
        """Close what rests and stop dialling."""
        for pools in self._pools.values():
            await pools.close()


class Claim:
    """What one connection claims: hosts, with the port of `base_url` or the default one, below the path of `base_url`.

    `exact` are hosts, `below` those whose sub-domains are meant. `user` is the name by which a caller may ask for this
    connection. Requests go to the host they name, by scheme and port of `base_url`. Where a token answer completes
    `base_url`, only what is known of it counts.
    """

    __slots__ = ("below", "exact", "path", "plans", "port", "scheme", "user")

    def __init__(self, connection: Connection, plans: OriginPlans) -> None:
        self.plans = plans
        self.exact = tuple(_canonical(entry) for entry in connection.hosts if not entry.startswith("*."))
        self.below = tuple(_canonical(entry[2:]) for entry in connection.hosts if entry.startswith("*."))
        self.user = connection.name.encode()
        self.scheme, self.port, self.path = _base(connection)

    def takes(self, scheme: str, port: int) -> bool:
        """Whether a request by this scheme to this port may be meant."""
        return port == self.port or port == PORTS[scheme]

    def covers(self, target: bytes) -> bool:
        """Whether the path lies below that of `base_url`."""
        path = self.path
        return not path or (target.startswith(path) and target[len(path) : len(path) + 1] in (b"", b"/", b"?"))

    def origin(self, host: str) -> Origin:
        """Return where a request to `host` goes."""
        return Origin(self.scheme, host, self.port)

    def at(self, host: str) -> Plan:
        """Return the plan for requests to `host`."""
        return self.plans.at(self.origin(host))


def _base(connection: Connection) -> tuple[Scheme, int, bytes]:
    base = connection.base_url
    if isinstance(base, str):
        url = parse_url(base)
        return url.scheme, url.port, url.path_and_query.rstrip("/").encode()
    scheme: Scheme = "http" if base.scheme == "http" else "https"
    known = base.path.text if "{{" not in base.path.text else ""
    return scheme, base.port or PORTS[scheme], known.rstrip("/").encode()


def _canonical(host: str) -> str:
    return canonical_host(f"[{host}]" if ":" in host and not host.startswith("[") else host)


class Claimants:
    """Who claims one host and port. Among those whose path fits the best claim wins; a user name may choose another."""

    __slots__ = ("_ranked", "_users", "only")

    def __init__(self, ranked: tuple[tuple[object, Claim], ...]) -> None:
        self._ranked = ranked
        places = [(rank, claim.path) for rank, claim in ranked]
        # Whose names tell what path and host do not; empty where these do.
        self._users = frozenset(claim.user for _, claim in ranked if len(set(places)) < len(places))
        # The usual case, which needs no look at path and user.
        self.only = ranked[0][1] if len(ranked) == 1 and not ranked[0][1].path else None

    def may_ask(self, user: bytes) -> bool:
        """Whether there are requests of which nobody knows whose they are, unless another user name comes with them."""
        return bool(self._users) and user not in self._users

    def find(self, target: bytes, user: bytes) -> Claim | None:
        """Return the claim that a request falls under, None if under none.

        Raises `Refusal` (`proxy_auth_required`) where only a user name could tell.
        """
        fitting = [(rank, claim) for rank, claim in self._ranked if claim.covers(target)]
        if not fitting:
            return None
        for _, claim in fitting:
            if claim.user == user:
                return claim
        if len(fitting) > 1 and fitting[0][0] == fitting[1][0]:
            raise Refusal(PROBLEMS["proxy_auth_required"], WHICH)
        return fitting[0][1]


NOBODY: Final = Claimants(())


class HostTable:
    """The claims of all connections by host: exact ones before `*.suffix`, the longest suffix first."""

    __slots__ = ("_below", "_exact")

    def __init__(self, claims: Iterable[Claim]) -> None:
        self._exact: dict[str, list[Claim]] = {}
        self._below: dict[str, list[Claim]] = {}
        for claim in claims:
            for table, hosts in ((self._exact, claim.exact), (self._below, claim.below)):
                for host in hosts:
                    table.setdefault(host, []).append(claim)

    def at(self, scheme: str, host: str, port: int) -> Claimants:
        """Return who claims a canonical host and a port that a request by `scheme` names."""
        if is_metadata(host):  # whatever a suffix says: no token goes there
            return NOBODY
        ranked = []
        seen: set[bytes] = set()
        for level, claims in enumerate(self._levels(host)):
            for claim in claims:
                if claim.takes(scheme, port) and claim.user not in seen:
                    seen.add(claim.user)
                    # On the default port of the request's scheme: whose own port is named or usual, before odd ones.
                    odd = 0 if port == claim.port else 1 if claim.port == PORTS[claim.scheme] else 2
                    ranked.append(((level, -len(claim.path), odd), claim))
        if not ranked:
            return NOBODY
        ranked.sort(key=lambda entry: entry[0])
        return Claimants(tuple(ranked))

    def find(self, scheme: str, host: str, port: int, target: bytes, user: bytes) -> Plan | None:
        """Return the plan of a request, None where no connection claims it. Raises `Refusal` as `Claimants.find`."""
        claim = self.at(scheme, host, port).find(target, user)
        return None if claim is None else claim.at(host)

    def _levels(self, host: str) -> Iterable[list[Claim]]:
        if host in self._exact:
            yield self._exact[host]
        dot = host.find(".")
        while self._below and dot >= 0:
            below = self._below.get(host[dot + 1 :])
            if below is not None:
                yield below
            dot = host.find(".", dot + 1)
