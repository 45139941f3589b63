"""Where the requests of a connection go, and which header lines of the definitions they get.

Made once; where the token answer decides, once per token; where a header changes with each request, for each. Pure, but
for the streams that it asks for.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from proxy.definitions.domains import DomainError, OAuthUrl, canonical_host, is_metadata, parse_url
from proxy.definitions.templates.calls import varies
from proxy.definitions.templates.placeholders import Call, RenderError, UrlTemplate, expressions, references, render
from proxy.definitions.templates.scope import connection_scope, iclient_scope
from proxy.definitions.templates.urls import in_header, placeholder_in_host, render_url
from proxy.errors import Refusal
from proxy.exchange.location import LocationMap
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.access_token import AccessToken
    from proxy.definitions.models import Connection
    from proxy.definitions.templates.placeholders import Ambient, Expression, Template
    from proxy.exchange.plan import Streams

# What only the token answer, or the redirect before it, tells.
_ANSWERED: Final = (("connection", "token"), ("connection", "callback"))


class Origin(NamedTuple):
    """Scheme, host and port of an upstream; the host in lower case and without brackets."""

    scheme: Literal["https", "http"]
    host: str
    port: int


class Origins(Protocol):
    """The streams of one connection, to one origin at a time."""

    def to(self, origin: Origin) -> Streams:
        """Return the streams to `origin`; those to another one are retired."""
        ...


class Aim:
    r"""One origin with its base path and streams, and header lines: `lines` are ours, `pattern` finds theirs.

    `base_path` has no slash at its end; `host_line` is `\\r\\nHost: …\\r\\n`. `location` is None where locations are
    not rewritten, `pattern` where no header is set or removed.
    """

    __slots__ = ("base_path", "host_line", "lines", "location", "pattern", "streams")

    def __init__(
        self, url: OAuthUrl, streams: Streams, lines: bytes, names: list[bytes], location: LocationMap | None
    ) -> None:
        self.base_path = _path_of(url).encode()
        self.host_line = b"\r\nHost: " + url.authority.encode() + b"\r\n"
        self.streams = streams
        self.lines = lines
        self.pattern = lines_named(*names) if names else None
        self.location = location


class Aims:
    """Makes the aims of one connection. `fixed` is the one for all requests, None where there is no such one.

    `needs_token`: without a token answer nobody knows where to send anything. `origin` is the last one, if any.
    `named` is the origin that the requests themselves name, with a target that stays as it is; without it `base_url`
    says where to. `via` is a line of ours for every request, or empty.
    """

    __slots__ = (
        "_ambient", "_connection", "_last", "_last_for", "_named", "_origins", "_varies", "_via", "fixed",
        "needs_token", "origin",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        origins: Origins,
        ambient: Callable[[], Ambient],
        *,
        via: bytes = b"",
        named: Origin | None = None,
    ) -> None:
        self._connection = connection
        self._origins = origins
        self._ambient = ambient
        self._via = via
        self._named = named
        self._last: Aim | None = None
        self._last_for: AccessToken | None = None
        self.origin: Origin | None = None
        templates = [template for _, template in connection.headers if template is not None]
        self._varies = any(_varies(expression) for template in templates for expression in expressions(template))
        self.needs_token = named is None and isinstance(connection.base_url, UrlTemplate)
        waits = self.needs_token or self._varies or any(_is_answered(template) for template in templates)
        self.fixed: Aim | None = None
        if not waits:
            with suppress(Refusal):  # then every request is refused, and hears why
                self.fixed = self._made(None, bare=False)

    def of(self, token: AccessToken | None, *, bare: bool = False) -> Aim:
        """Return the aim of a request with `token`; `bare`: the token says where, but nothing of it is sent.

        Raises `Refusal`: `upstream_outside_hosts`, or `placeholder_unresolved` for a header.
        """
        if self.fixed is not None:
            return self.fixed
        if self._last is not None and self._last_for is token and not self._varies and not bare:
            return self._last
        made = self._made(token, bare=bare)
        if not bare:
            self._last, self._last_for = made, token
        return made

    def _made(self, token: AccessToken | None, *, bare: bool) -> Aim:
        connection, ambient = self._connection, self._ambient()
        own = connection_scope(connection, token=token)
        scope: dict[str, object] = {"connection": own}
        if connection.iclient is not None:
            scope["iclient"] = iclient_scope(connection.iclient, connection, redirect_url=None, jwt=None)
        if self._named is None:
            url = _url(connection, scope, ambient)
            location = _location(connection, url)
            own["base_url"] = str(url).removesuffix("/")
        else:
            url, location = OAuthUrl(*self._named, "/"), None
            if token is not None and not isinstance(connection.base_url, str):  # only a header may want it
                own["base_url"] = lambda: str(_url(connection, scope, ambient)).removesuffix("/")
        names, lines = [], []
        for name, template in connection.headers:
            if template is not None:
                if (bare or token is None) and _is_answered(template):
                    continue  # no token, none of what came with it: the application's own stays
                lines.append(f"{name}: {_value(name, template, scope, ambient)}\r\n")
            names.append(name.lower().encode())
        # Only now that nothing can go wrong any more: to ask for another origin's streams is to give up the last one's.
        origin = self.origin = Origin(url.scheme, url.host, url.port)
        streams = self._origins.to(origin)
        return Aim(url, streams, "".join(lines).encode("latin-1") + self._via, names, location)


def _url(connection: Connection, scope: dict[str, object], ambient: Ambient) -> OAuthUrl:
    """Return the rendered `base_url`. Raises `Refusal` unless it is an https URL to one of the connection's hosts."""
    base_url = connection.base_url
    if isinstance(base_url, str):
        return parse_url(base_url)
    problem = PROBLEMS["upstream_outside_hosts"]
    try:
        url = parse_url(render_url(base_url, scope, ambient))
    except (RenderError, DomainError) as error:
        raise Refusal(problem, f"base_url: {error.message}") from error
    if placeholder_in_host(base_url):
        if base_url.origin is not None and url.scheme != "https":  # else the operator wrote the scheme
            raise Refusal(problem, "base_url: what its placeholder stands for is not an https origin")
        if not _claims(connection.hosts, url.host) or is_metadata(url.host):
            raise Refusal(problem, "base_url: what its placeholder stands for is none of the connection's hosts")
    return url


def _claims(hosts: tuple[str, ...], host: str) -> bool:
    """Whether `host` is one of `hosts`, or below one that begins with `*.`."""
    for entry in hosts:
        name = canonical_host(entry.removeprefix("*."))
        if host.endswith(f".{name}") if entry.startswith("*.") else host == name:
            return True
    return False


def _value(name: str, template: Template, scope: dict[str, object], ambient: Ambient) -> str:
    try:
        return render(template, scope, ambient, escape=in_header)
    except RenderError as error:
        raise Refusal(PROBLEMS["placeholder_unresolved"], f"headers.{name}: {error.message}") from error


def _location(connection: Connection, url: OAuthUrl) -> LocationMap | None:
    route = connection.route
    if route is None or not connection.rewrite_location:
        return None
    return LocationMap(url.scheme, url.host, url.port, _path_of(url), route.prefix.rstrip("/"), route.strip)


def _path_of(url: OAuthUrl) -> str:
    return url.path_and_query.partition("?")[0].rstrip("/")


def _is_answered(template: Template) -> bool:
    return any(reference.steps[:2] in _ANSWERED for reference in references(template))


def _varies(expression: Expression) -> bool:
    return isinstance(expression, Call) and (
        varies(expression.helper)
        or any(not isinstance(argument, str) and _varies(argument) for argument in expression.arguments)
    )


def lines_named(*names: bytes) -> re.Pattern[bytes]:
    """Find whole lines of these names, in every case, with `_` for `-` and with trailing underscores."""
    alternatives = b"|".join(re.escape(name).replace(rb"\-", rb"[-_]") for name in names)
    return re.compile(rb"\r\n(?:" + alternatives + rb")_*:[^\r]*(?=\r)", re.IGNORECASE)
