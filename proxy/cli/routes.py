"""Where an application on this machine reaches a connection, and whose a URL is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from proxy.cli.failures import UsageError
from proxy.definitions.domains import DomainError, parse_url
from proxy.definitions.settings import ForwardListener, ReverseListener, TcpBind, seen_from_here
from proxy.errors import Refusal
from proxy.exchange.claims import Claim, HostTable, prefix_of
from proxy.exchange.rewrite import upstream_target
from proxy.exchange.route import RouteTable
from proxy.runtime.doors import doors

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from proxy.definitions.models import Connection, Definitions, Route
    from proxy.exchange.claims import OriginPlans
    from proxy.runtime.doors import Door

_PORTS: Final = {"https": 443, "http": 80}
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a URL is: the connection or None, where the request goes or None, and the reason in our words."""

    connection: str | None
    upstream: str | None
    why: str


@dataclass(frozen=True, slots=True)
class _Stand:
    """What the data path's own tables ask of a connection's plan, without what only a running proxy has."""

    connection: Connection
    strip: int
    base_path: bytes
    guards_dots: bool


def named(definitions: Definitions, name: str) -> Connection:
    """Return the connection of that name; raises `UsageError`."""
    found = next((each for each in definitions.connections if each.name == name), None)
    if found is None:
        names = ", ".join(each.name for each in definitions.connections) or "none"
        raise UsageError(f"no connection is called {name!r}; there are: {names}")
    return found


def route_of(connection: Connection) -> Route:
    """Return the connection's route; raises `UsageError` when it has none."""
    if connection.route is None:
        raise UsageError(f"the connection {connection.name} has no route on the reverse listener")
    return connection.route


def listener_of(definitions: Definitions, connection: Connection) -> ReverseListener:
    """Return the listener that the connection's route is on, its own or the shared one; raises `UsageError`."""
    route_of(connection)
    for door in doors(definitions):
        if isinstance(door.settings, ReverseListener) and connection.name in door.connections:
            return door.settings
    raise UsageError("the reverse listener is closed by the definitions")


def address(listener: ReverseListener | ForwardListener) -> str:
    """Return where a listener is, seen from this machine: `http://HOST:PORT` or `unix:/PATH`."""
    bind = listener.bind
    if not isinstance(bind, TcpBind):
        return f"unix:{bind.path}"
    host = seen_from_here(bind.host)
    scheme = "http" if isinstance(listener, ForwardListener) or listener.tls is None else "https"
    return f"{scheme}://[{host}]:{bind.port}" if ":" in host else f"{scheme}://{host}:{bind.port}"


def local_url(definitions: Definitions, connection: Connection) -> str | None:
    """Return what stands for `base_url` in an application on this machine; None where nothing does."""
    route = connection.route
    if route is None or not definitions.listeners.reverse:
        return None
    base = address(listener_of(definitions, connection))
    if route.host is not None and not base.startswith("unix:"):
        split = urlsplit(base)
        base = f"{split.scheme}://{route.host}" + (f":{split.port}" if split.port is not None else "")
    return base + route.prefix.rstrip("/")


def target(route: Route, path: str) -> str:
    """Return what the request line names so that the upstream gets `path`; raises `UsageError`."""
    if not path.startswith("/"):
        path = f"/{path}"
    if not path.isascii() or any(each <= " " or each in "#\x7f" for each in path):
        raise UsageError("the path has a space, a # or a character outside ASCII; percent-encode it")
    prefix = route.prefix.rstrip("/")
    if route.strip:
        return prefix + path
    if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/", "?"}:
        return path
    raise UsageError(f"the route of this connection keeps its prefix, so a path begins with {prefix}")


def owner(definitions: Definitions, url: str) -> Owner:
    """Return whose a URL is: of the reverse listener (`http://…` or its path alone), or of an API.

    Raises `UsageError` for what is no URL.
    """
    if url.startswith("/"):
        found = [door for door in doors(definitions) if door.name == "reverse"]
        return _through(definitions, found[:1], "", url)
    try:
        split = urlsplit(url)
        port = split.port or _PORTS.get(split.scheme)
    except ValueError:
        split, port = None, None
    if split is None or split.scheme not in _PORTS or not split.hostname or not url.isascii():
        raise UsageError("the URL is not one: write http://HOST/PATH, or /PATH for the reverse listener")
    target = (split.path or "/") + (f"?{split.query}" if split.query else "")
    own = [door for door in doors(definitions) if _is_at(door, split.hostname, port, definitions)]
    if own:
        return _through(definitions, own, split.hostname, target)
    return _claimed(definitions, split, target) or _upstream(definitions, split, port)


def _is_at(door: Door, host: str, port: int | None, definitions: Definitions) -> bool:
    settings, bind = door.settings, door.settings.bind
    if not isinstance(settings, ReverseListener) or not isinstance(bind, TcpBind) or bind.port != port:
        return False
    hosts = {each.route.host for each in definitions.connections if each.route is not None and each.route.host}
    return host in {*_LOCAL, bind.host, *hosts, *settings.allowed_hosts}


def _through(definitions: Definitions, open_doors: list[Door], host: str, target: str) -> Owner:
    for door in open_doors:
        stands = [_stand(each) for each in definitions.connections if each.name in door.connections]
        table = RouteTable(stands)
        plan = table.find(host.encode(), target.encode())
        if plan is None:
            continue
        base = plan.connection.base_url
        try:
            rest = target.encode()[plan.strip :]
            path = upstream_target(plan.base_path, rest, guards_dots=plan.guards_dots).decode()
        except Refusal as refusal:
            return Owner(plan.connection.name, None, refusal.detail)
        upstream = _origin(base) + path if isinstance(base, str) else f"{base.text} … {path}"
        return Owner(plan.connection.name, upstream, f"its route is {_written(plan.connection)}")
    return Owner(None, None, "no connection has a route for this path and host")


def _claimed(definitions: Definitions, split: SplitResult, target: str) -> Owner | None:
    """Find the connection that claims a URL on the forward listener, None where there is no such one."""
    forward = definitions.listeners.forward
    if forward is None:
        return None
    try:
        named = parse_url(split.geturl())
    except DomainError as error:
        raise UsageError(f"the URL is not one: {error.message}") from error
    # Plans are for those who send something.
    table = HostTable(Claim(each, cast("OriginPlans", None)) for each in definitions.connections)
    try:
        claim = table.at(named.scheme, named.host, named.port).find(target.encode(), b"")
    except Refusal as refusal:
        return Owner(None, None, refusal.detail)
    if claim is None:
        return None
    port = "" if claim.port == _PORTS[claim.scheme] else f":{claim.port}"
    called = f"http://{f'[{named.host}]' if ':' in named.host else named.host}{port}{target}"
    why = f"it claims this host; an application whose proxy is {address(forward)} calls {called}"
    if named.scheme == "https":
        why += (
            ", or this URL, since its TLS is intercepted"
            if forward.intercept is not None
            else "; by https it gets no token, since TLS is not intercepted"
        )
    return Owner(claim.user.decode(), prefix_of(claim.origin(named.host)).decode() + target, why)


def _upstream(definitions: Definitions, split: SplitResult, port: int | None) -> Owner:
    """Find the connection whose API a URL belongs to; an application reaches it by the connection's route."""
    best: tuple[int, Connection, str] | None = None
    for connection in definitions.connections:
        base = urlsplit(connection.base_url) if isinstance(connection.base_url, str) else None
        if base is None or (base.hostname, base.port or _PORTS.get(base.scheme)) != (split.hostname, port):
            continue
        path = base.path.rstrip("/")
        rest = (split.path or "/")[len(path) :]
        below = (split.path or "/").startswith(path) and rest[:1] in {"", "/"}
        if below and (best is None or len(path) > best[0]):
            best = len(path), connection, rest + (f"?{split.query}" if split.query else "")
    if best is None:
        return Owner(None, None, "it is below no connection's base_url, and the reverse listener is elsewhere")
    _, connection, rest = best
    local = local_url(definitions, connection)
    via = "it has no route on the reverse listener" if local is None else f"an application calls {local}{rest}"
    return Owner(connection.name, split.geturl(), f"it is below its base_url; {via}")


def _stand(connection: Connection) -> _Stand:
    route = connection.route
    base = urlsplit(connection.base_url).path if isinstance(connection.base_url, str) else ""
    strip = len(route.prefix.rstrip("/")) if route is not None and route.strip else 0
    guards = bool(base.rstrip("/")) or bool(connection.allowed_paths)
    return _Stand(connection, strip, base.rstrip("/").encode(), guards)


def _origin(base_url: str) -> str:
    split = urlsplit(base_url)
    return f"{split.scheme}://{split.netloc}"


def _written(connection: Connection) -> str:
    route = route_of(connection)
    port = f" on port {route.bind.port}" if route.bind is not None else ""
    return f"{route.prefix}{f' of the host {route.host}' if route.host else ''}{port}"
