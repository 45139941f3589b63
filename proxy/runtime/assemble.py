"""From definitions to parts that can be started: every part is made here and handed what it needs."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, assert_never
from urllib.parse import urlsplit

import structlog

from proxy.definitions.models import Connection, Timeouts, Tls
from proxy.definitions.settings import ForwardListener, ReverseListener, UnixBind
from proxy.definitions.templates.placeholders import Ambient
from proxy.exchange.aim import Aims
from proxy.exchange.claims import Claim, HostTable, OriginPlans, prefix_of
from proxy.exchange.flow import Exchange
from proxy.exchange.in_chunks import InChunks
from proxy.exchange.inspection import Bounds
from proxy.exchange.plan import Passage, Plan
from proxy.exchange.record import ConnectionCounters, ProcessCounters
from proxy.exchange.replay import ReplayMemory
from proxy.exchange.route import RouteTable
from proxy.exchange.surroundings import Surroundings
from proxy.exchange.traced import Tracing
from proxy.inbound import forward
from proxy.inbound.forward import Blind, ForwardRules, Guesses
from proxy.inbound.intercept import Interception
from proxy.inbound.listener import Listener, StreamCount
from proxy.inbound.reverse import ReverseRules, credential_of
from proxy.inbound.tls import server_context
from proxy.outbound.destinations import Destinations
from proxy.outbound.dial import Dialler
from proxy.outbound.direct import Direct, is_local
from proxy.outbound.egress import Egress, Gate
from proxy.outbound.origins import OriginPools
from proxy.outbound.pool import Pool, StreamLimit
from proxy.outbound.raw import RawStreams
from proxy.outbound.tls import client_context
from proxy.runtime.doors import doors
from proxy.runtime.keepers import keeper_for
from proxy.runtime.lag import LagWatch
from proxy.runtime.parts import Assembly, Part
from proxy.runtime.shares import replay_memory, stream_limits_of, told
from proxy.runtime.stores import Stores
from proxy.tokens.discovery import Discoveries
from proxy.tokens.keeper import Keeper
from proxy.tokens.retries import Retries
from proxy.wire.request import HeadLimits
from proxy.wire.sweep import Sweep

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import Iterable, Mapping

    from proxy.ca.authority import Authority
    from proxy.clock import Clock
    from proxy.definitions.models import Definitions
    from proxy.definitions.settings import AuthorityFiles, ListenerAuth
    from proxy.definitions.templates.placeholders import UrlTemplate
    from proxy.exchange.aim import Origin
    from proxy.exchange.record import Recorder
    from proxy.exchange.traced import Sampler
    from proxy.inbound.rules import Rules
    from proxy.outbound.dial import Way
    from proxy.outbound.resolve import Resolver as NameResolver
    from proxy.runtime.doors import Door
    from proxy.runtime.parts import Tokens

NO_CONNECTION: Final = "-"
_TUNNEL_CONNECT: Final = Timeouts().connect


class Workshop:
    """Makes the parts of a proxy, at its start and at each reload; needs a running loop, opens nothing.

    `settings` are the definitions at the start: their limits stay, and what all parts share is made from them once.
    `memory_limit` is that of the cgroup, in bytes. `tag` is the name by which a loop is noticed, a new one without.
    """

    keeper_class: type[Keeper] = Keeper
    listener_class: type[Listener] = Listener

    def __init__(
        self,
        settings: Definitions,
        *,
        clock: Clock,
        entropy: random.Random,
        recorder: Recorder | None,
        sampler: Sampler | None = None,
        resolver: NameResolver,
        stores: Stores | None = None,
        api_server: str | None = None,
        memory_limit: int | None = None,
        tag: str | None = None,
    ) -> None:
        limits = settings.limits
        self.tag = tag = tag or f"iclient-proxy-{entropy.randbytes(4).hex()}"
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._entropy = entropy
        self.randbytes = entropy.randbytes
        self._resolver = resolver
        self._limits = limits
        self.stores = stores if stores is not None else Stores()
        self._retries = Retries(clock.monotonic)
        self._discoveries = Discoveries(clock, limit=limits.token_answer)
        self._head_limits = HeadLimits(limits.head_size, limits.header_line, limits.header_fields, limits.target)
        self._contexts = _Contexts()
        self._api_server = api_server
        # Where nobody may go; who listens says so, once the ports are known.
        self.destinations = Destinations()
        egress = settings.egress_proxy
        self._gate = Gate(egress, resolver, lambda: self.destinations) if egress is not None else None
        self._claimed = self._way(claimed=True)
        self._unclaimed = self._way(claimed=False)
        # Where a browser finds the admin listener: known when that is bound.
        self.admin_base: str | None = None
        downstream, upstream, tunnels = stream_limits_of(limits, dials=settings.listeners.forward is not None)
        self.count = StreamCount(downstream, told())
        self.stream_limit = StreamLimit(upstream)
        counters = ProcessCounters(store_errors=self.stores.errors)
        self.sweep = Sweep(self._loop, monotonic, LagWatch(counters).late)
        self.surroundings = Surroundings(
            self._loop,
            counters,
            ConnectionCounters(NO_CONNECTION),  # of requests that no connection claims
            recorder,
            ReplayMemory(replay_memory(limits, memory_limit)),
            Bounds(limits.inspect_raw, limits.inspect_decoded, limits.inspect_hold),
            via_tag=tag.encode(),
            tunnels_max=tunnels,
            tunnel_idle=limits.tunnel_idle,
            exchange=Tracing(sampler, entropy.getrandbits).exchange if sampler is not None else Exchange,
        )
        self._without_resets = self.surroundings.beside(
            Tracing(sampler, entropy.getrandbits, InChunks).exchange if sampler is not None else InChunks
        )
        self._tunnels_claimed, self._tunnels = (
            RawStreams(way, self._loop, self.sweep, _TUNNEL_CONNECT) for way in (self._claimed, self._unclaimed)
        )
        line = f"Via: 1.1 {tag}\r\n".encode()
        self._via = line if settings.via == "always" else b""
        self._forward_via = line if settings.via != "never" else b""
        self._passages = OriginPlans(self._passage)
        self._guesses = Guesses(monotonic)
        self._blind = Blind(_tell_blind)
        self._interception: Interception | None = None  # of the definitions that were prepared last

    def assemble(self, definitions: Definitions, *, spread: float) -> Assembly:
        """Build every part; the first tokens are fetched within `spread` seconds of the start.

        Raises `MachineError` where a file is no longer what it was when it was checked.
        """
        self._interception = self._opened(definitions)
        parts = {each.name: self.part(each, spread=spread) for each in definitions.connections}
        listeners = {door.key: self.listener(door, parts) for door in doors(definitions)}
        return Assembly(definitions, parts, listeners, self.authority)

    def part(self, connection: Connection, *, spread: float, before: Part | None = None) -> Part:
        """Build the parts of one connection; counters go on from the part `before`, tokens and streams do not."""
        if _is_secured(connection.base_url):
            self._contexts.get(connection.tls)  # not only when a token answer has named the origin: it takes a while
        pools = OriginPools(lambda origin: self._pool(connection, origin))
        keeper = self._keeper(connection, spread, before.keeper if before is not None else None)
        tokens = self._tokens(connection, keeper)
        counters = before.plan.counters if before is not None else ConnectionCounters(connection.name)
        plan = Plan(connection, pools, tokens, tokens, counters, self._ambient, via=self._via)
        claim = Claim(connection, OriginPlans(lambda origin: self._plan_at(plan, origin)))
        return Part(connection, plan, pools, claim, keeper)

    def _keeper(self, connection: Connection, spread: float, before: Keeper | None) -> Keeper | None:
        if connection.iclient is None:
            return None
        return keeper_for(
            connection,
            self._limits,
            clock=self._clock,
            random=self._entropy,
            resolver=self._resolver,
            retries=self._retries,
            gate=self._gate,
            discoveries=self._discoveries,
            prefetch=spread,
            before=before,
            admin_base=lambda: self.admin_base,
            grants=self.stores.grants,
            kind=self.keeper_class,
        )

    def _tokens(self, connection: Connection, keeper: Keeper | None) -> Tokens | None:
        """Return where the data path has the tokens of a connection from."""
        return keeper

    def _plan_at(self, plan: Plan, origin: Origin) -> tuple[Plan, OriginPools]:
        """Return the plan of a connection for requests that name this origin themselves, and its streams."""
        connection = plan.connection
        pools = OriginPools(lambda named: self._pool(connection, named))
        aims = Aims(connection, pools, self._ambient, via=self._forward_via, named=origin)
        return plan.at(aims), pools

    def _passage(self, origin: Origin) -> tuple[Plan, OriginPools]:
        """Return the plan for requests that no connection claims, and its streams."""
        prefix = prefix_of(origin)
        nobody = Connection(name=NO_CONNECTION, base_url=prefix.decode())
        pools = OriginPools(lambda named: self._pool(nobody, named, self._unclaimed))
        counters = self.surroundings.unmatched
        plan = Passage(nobody, pools, counters, self._ambient, via=self._forward_via, named=origin, prefix=prefix)
        return plan, pools

    def listener(self, door: Door, parts: Mapping[str, Part]) -> Listener:
        """Build the listener of one door, not yet bound; raises `MachineError` where its certificate can't be used."""
        return self.listener_class(
            door.name,
            door.settings.bind,
            self.tls(door),
            self.rules(door, parts),
            self._without_resets if isinstance(door.settings.bind, UnixBind) else self.surroundings,
            self._limits,
            self._head_limits,
            self.sweep,
            self.count,
        )

    def tls(self, door: Door) -> ssl.SSLContext | None:
        """Return what the TLS of this door's listener comes from, None without; raises `MachineError`."""
        return server_context(door.settings) if isinstance(door.settings, ReverseListener) else None

    def rules(self, door: Door, parts: Mapping[str, Part]) -> Rules:
        """Return what the listener of this door lets through, and to which connection."""
        settings = door.settings
        match settings:
            case ReverseListener():
                return _reverse_rules(settings, (parts[name].plan for name in door.connections))
            case ForwardListener():
                self._passages.forget()  # a stream at rest may lead to what is denied now
                credential = settings.proxy_auth
                return ForwardRules(
                    HostTable(parts[name].claim for name in door.connections),
                    self._passages if settings.unclaimed == "tunnel" else None,
                    credential=forward.credential_of(credential) if credential is not None else None,
                    guesses=self._guesses,
                    blind=self._blind,
                    tunnels_claimed=settings.claimed_connect == "tunnel",
                    to_claimed=self._tunnels_claimed,
                    to_unclaimed=self._tunnels,
                    interceptor=self._interception,
                )
            case _:
                assert_never(settings)

    def prepare(self, definitions: Definitions) -> None:
        """Read the certificates of these definitions; may run on another thread, one at a time.

        Raises `MachineError` where a file is no longer what it was when it was checked.
        """
        self._contexts.keep({each.tls for each in definitions.connections if _is_secured(each.base_url)})
        self._interception = self._opened(definitions)

    @property
    def authority(self) -> str | None:
        """The certificate of the local authority (PEM) as it was prepared last, None without interception."""
        return self.opened.pem if self.opened is not None else None

    @property
    def opened(self) -> Authority | None:
        """The local authority as it was prepared last, with what it signs with."""
        return self._interception.leaves.authority if self._interception is not None else None

    def _read_authority(self, files: AuthorityFiles) -> Authority:
        from proxy.ca import authority

        return authority.read(files)

    def _opened(self, definitions: Definitions) -> Interception | None:
        """Open the local authority if there is interception; one that did not change keeps its leaves."""
        listener = definitions.listeners.forward
        if listener is None or listener.intercept is None:
            return None
        if listener.unclaimed == "tunnel":
            self._contexts.get(Tls())  # for what no connection claims of a host that is intercepted
        # They load cryptography, which definitions without certificates and sealed values do without.
        from proxy.ca.leaves import Leaves

        opened = self._read_authority(listener.intercept)
        last = self._interception
        if last is not None and last.leaves.authority.pem == opened.pem:
            return last
        return Interception(Leaves(opened, self._clock, self.randbytes), _tell_distrust)

    async def close(self) -> None:
        """Stop dialling for tunnels."""
        await self._tunnels_claimed.close()
        await self._tunnels.close()

    def guard(self, definitions: Definitions, own: frozenset[tuple[str, int]]) -> None:
        """Let nothing be dialled that `deny` lists, nor `own`, the addresses and ports of the open listeners."""
        forward = definitions.listeners.forward
        deny = forward.deny if forward is not None else ()
        _, _, tunnels = stream_limits_of(self._limits, dials=forward is not None)
        self.surroundings.allow_tunnels(tunnels)
        self.destinations = Destinations(deny, own, is_local=is_local, api_server=self._api_server)

    def _way(self, *, claimed: bool) -> Way:
        """Return how streams leave: to hosts that a connection names, or to others."""
        if self._gate is not None:
            return Egress(self._gate, lambda: self.destinations, claimed=claimed)
        return Direct(self._resolver, lambda: self.destinations, claimed=claimed)

    def _ambient(self) -> Ambient:
        return Ambient(self._clock.wall(), self.randbytes)

    def _pool(self, connection: Connection, origin: Origin, way: Way | None = None) -> Pool:
        context = self._contexts.get(connection.tls) if origin.scheme == "https" else None
        server_name = connection.tls.server_name or origin.host
        return Pool(
            connection.name,
            self._loop,
            Dialler(way or self._claimed, origin.host, origin.port, context, server_name),
            connection.timeouts,
            self._head_limits,
            self.stream_limit,
            self.sweep,
            self._limits.upstream_idle,
        )


def _reverse_rules(settings: ReverseListener, plans: Iterable[Plan]) -> ReverseRules:
    table = RouteTable(plans)
    hosts = frozenset(host.lower().encode() for host in settings.allowed_hosts) | table.hosts()
    origins = frozenset(origin.lower().rstrip("/") for origin in settings.allow_origins)
    credential = credential_of(settings.auth) if settings.auth is not None else None
    return ReverseRules(table, hosts, origins, credential, _challenge(settings.auth))


def _tell_blind(host: str) -> None:
    structlog.get_logger().warning(
        "blind_tunnel", host=host, why="a connection claims it, but its TLS is not intercepted"
    )


def _tell_distrust(host: str) -> None:
    structlog.get_logger().warning(
        "interception", host=host, outcome="certificate_refused",
        why="a client does not trust the local authority; `iclient-proxy ca install-hint` says how it comes to",
    )  # fmt: skip


def _is_secured(base_url: str | UrlTemplate) -> bool:
    """Whether streams to it are encrypted; an origin that a token answer names has to be https."""
    if isinstance(base_url, str):
        return urlsplit(base_url).scheme == "https"
    return base_url.origin is not None or base_url.scheme == "https"


class _Contexts:
    """TLS contexts by their settings: a thousand connections with the same ones share a context and its roots."""

    def __init__(self) -> None:
        self._made: dict[Tls, ssl.SSLContext] = {}

    def get(self, tls: Tls) -> ssl.SSLContext:
        """Return the context for `tls`."""
        context = self._made.get(tls)
        if context is None:
            context = self._made[tls] = client_context(tls)
        return context

    def keep(self, wanted: set[Tls]) -> None:
        """Have the contexts for these and no others ready."""
        self._made = {tls: self.get(tls) for tls in wanted}


def _challenge(auth: ListenerAuth | None) -> str:
    return 'Basic realm="iclient-proxy"' if auth is not None and auth.basic is not None else "Bearer"
