"""From definitions to a proxy that can be started: every part is made here and handed what it needs."""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.exchange.plan import Plan
from proxy.exchange.record import ConnectionCounters, ProcessCounters
from proxy.exchange.replay import ReplayMemory
from proxy.exchange.route import RouteTable
from proxy.exchange.surroundings import Surroundings
from proxy.inbound.listener import Listener, StreamCount
from proxy.inbound.reverse import ReverseRules, credential_of
from proxy.outbound.dial import Dialler
from proxy.outbound.pool import Pool, StreamLimit
from proxy.outbound.tls import client_context
from proxy.runtime.keepers import keeper_for
from proxy.wire.request import HeadLimits
from proxy.wire.sweep import Sweep

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from proxy.clock import Clock
    from proxy.definitions.models import Bind, Connection, Definitions, Limits, ListenerAuth, ReverseListener, Tls
    from proxy.exchange.record import Recorder
    from proxy.outbound.dial import Resolver
    from proxy.outbound.resolve import Resolver as NameResolver
    from proxy.tokens.keeper import Keeper

NO_CONNECTION: Final = "-"
_REPLAY_MEMORY_MAX: Final = 64 * 1024 * 1024
_CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Part:
    """One connection's parts; `keeper` is None where no token is needed."""

    connection: Connection
    plan: Plan
    pool: Pool
    keeper: Keeper | None


@dataclass(frozen=True, slots=True)
class Assembly:
    """All parts of a proxy, not yet started. `counters` belongs to requests that no connection claims."""

    definitions: Definitions
    parts: tuple[Part, ...]
    listeners: tuple[Listener, ...]
    surroundings: Surroundings
    sweep: Sweep
    unmatched: ConnectionCounters


def assemble(
    definitions: Definitions,
    *,
    clock: Clock,
    entropy: random.Random,
    recorder: Recorder | None,
    resolver: NameResolver,
    spread: float,
) -> Assembly:
    """Build every part from `definitions`; needs a running loop, opens nothing.

    The first tokens are fetched within `spread` seconds of the start.
    """
    loop = asyncio.get_running_loop()
    limits = definitions.limits
    head_limits = HeadLimits(limits.head_size, limits.header_line, limits.header_fields, limits.target)
    sweep = Sweep(loop, monotonic)
    stream_limit = StreamLimit(limits.upstream_streams)
    unmatched = ConnectionCounters(NO_CONNECTION)
    tag = f"iclient-proxy-{os.urandom(4).hex()}"
    surroundings = Surroundings(
        loop,
        ProcessCounters(),
        unmatched,
        recorder,
        ReplayMemory(replay_memory(limits)),
        via=f"Via: 1.1 {tag}\r\n".encode() if definitions.via == "always" else b"",
        via_tag=tag.encode(),
        tunnels_max=limits.tunnels,
        tunnel_idle=limits.tunnel_idle,
    )
    contexts = _Contexts()
    parts: list[Part] = []
    for connection in definitions.connections:
        dialler = _dialler(connection, resolver, contexts)
        pool = Pool(
            connection.name,
            loop,
            dialler,
            connection.timeouts,
            head_limits,
            stream_limit,
            sweep,
            limits.upstream_idle,
        )
        keeper = (
            keeper_for(connection, limits, clock=clock, random=entropy, resolver=resolver, prefetch=spread)
            if connection.iclient is not None
            else None
        )
        plan = Plan(connection, pool, keeper, keeper, ConnectionCounters(connection.name))
        parts.append(Part(connection, plan, pool, keeper))
    count = StreamCount(stream_limit_of(limits))
    listeners = tuple(
        Listener(name, bind, context, rules, surroundings, limits, head_limits, sweep, count)
        for name, bind, context, rules in _listeners(definitions, [part.plan for part in parts])
    )
    return Assembly(definitions, tuple(parts), listeners, surroundings, sweep, unmatched)


class _Contexts:
    """TLS contexts by their settings: a thousand connections with the same ones share a context and its roots."""

    def __init__(self) -> None:
        self._made: list[tuple[Tls, ssl.SSLContext]] = []

    def get(self, tls: Tls) -> ssl.SSLContext:
        """Return the context for `tls`."""
        for known, context in self._made:
            if known == tls:
                return context
        context = client_context(tls)
        self._made.append((tls, context))
        return context


def _dialler(connection: Connection, resolver: Resolver, contexts: _Contexts) -> Dialler:
    url = urlsplit(connection.base_url)
    host = url.hostname or ""
    context = contexts.get(connection.tls) if url.scheme == "https" else None
    return Dialler(resolver, host, url.port or _DEFAULT_PORTS[url.scheme], context, connection.tls.server_name or host)


def _listeners(
    definitions: Definitions, plans: list[Plan]
) -> Iterable[tuple[str, Bind, ssl.SSLContext | None, ReverseRules]]:
    shared = [plan for plan in plans if plan.connection.route is not None and plan.connection.route.bind is None]
    if shared:
        table = RouteTable(shared)
        for settings in definitions.listeners.reverse:
            yield "reverse", settings.bind, _server_context(settings), _rules(table, settings)
    for plan in plans:
        route = plan.connection.route
        if route is not None and route.bind is not None:
            table = RouteTable([plan])
            yield "route", route.bind, None, ReverseRules(table, table.hosts(), frozenset(), None, "")


def _rules(table: RouteTable, settings: ReverseListener) -> ReverseRules:
    hosts = frozenset(host.lower().encode() for host in settings.allowed_hosts) | table.hosts()
    origins = frozenset(origin.lower().rstrip("/") for origin in settings.allow_origins)
    credential = credential_of(settings.auth) if settings.auth is not None else None
    return ReverseRules(table, hosts, origins, credential, _challenge(settings.auth))


def _challenge(auth: ListenerAuth | None) -> str:
    return 'Basic realm="iclient-proxy"' if auth is not None and auth.basic is not None else "Bearer"


def _server_context(settings: ReverseListener) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(settings.tls.cert, settings.tls.key)
    if settings.auth is not None and settings.auth.client_ca is not None:
        context.load_verify_locations(settings.auth.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def replay_memory(limits: Limits) -> int:
    """Return the bytes that kept bodies may take: as written, else 64 MiB or an eighth of the cgroup."""
    if limits.replay_memory != "auto":
        return limits.replay_memory
    for path in _CGROUP_LIMITS:
        try:
            return min(_REPLAY_MEMORY_MAX, int(Path(path).read_text(encoding="ascii")) // 8)
        except (OSError, ValueError):  # no cgroup, or "max"
            continue
    return _REPLAY_MEMORY_MAX


def stream_limit_of(limits: Limits) -> int:
    """Return how many data streams may be open: as written, else half of the limit on file descriptors."""
    if limits.connections != "auto":
        return limits.connections
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft // 2
