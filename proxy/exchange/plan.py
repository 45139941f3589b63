"""What a connection's definition comes to on the wire: bytes and tables made once, read by every request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from proxy.exchange.classify import Classifier
from proxy.exchange.inject import HeaderInjector, QueryInjector
from proxy.exchange.location import LocationMap
from proxy.secret import living

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.access_token import AccessToken, Refused
    from proxy.definitions.models import Connection
    from proxy.errors import Refusal
    from proxy.exchange.inject import Injector
    from proxy.exchange.record import ConnectionCounters
    from proxy.exchange.stream import Stream
    from proxy.secret import Secret

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class TokenSource(Protocol):
    """Where tokens come from. `take` gives the one to send, or None: then `wait` for it."""

    def take(self) -> AccessToken | None:
        """Return the token that serves now, without waiting."""
        ...

    async def wait(self) -> AccessToken:
        """Wait for a token; raises `TokenUnavailable`."""
        ...


class TokenVerdicts(Protocol):
    """Whom to tell what the upstream thinks of a token. `unproven`: wants to hear of the next acceptance."""

    unproven: bool

    def refused(self, token: AccessToken, *, replayed: bool) -> Refused:
        """Take note of a refusal. `replayed`: the same request was refused before, with an earlier token."""
        ...

    def accepted(self, token: AccessToken) -> None:
        """Take note of an acceptance."""
        ...


class Waiter(Protocol):
    """Who waits for an upstream stream."""

    def opened(self, stream: Stream) -> None:
        """The stream is there."""
        ...

    def broken(self, refusal: Refusal) -> None:
        """There will be none."""
        ...


class Streams(Protocol):
    """The streams to one origin."""

    def take(self) -> Stream | None:
        """Return an idle stream that is still open."""
        ...

    def open(self, waiter: Waiter) -> None:
        """Have `waiter` told of a stream, a new one or one that falls idle first."""
        ...

    def forget(self, waiter: Waiter) -> None:
        """`waiter` has left."""
        ...


class Plan:
    """One connection, ready for the data path."""

    __slots__ = (
        "_hidden", "_hidden_for", "_own_secrets", "admits_all", "base_path", "classifier", "connection", "counters",
        "credential_lines", "guards_dots", "host_line", "injector", "location", "name", "replaces_credential",
        "replay", "replays_all", "set_lines", "streams", "strip", "timeouts", "tokens", "verdicts",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        streams: Streams,
        tokens: TokenSource | None,
        verdicts: TokenVerdicts | None,
        counters: ConnectionCounters,
    ) -> None:
        url = urlsplit(connection.base_url)
        port = url.port or _DEFAULT_PORTS[url.scheme]
        host = url.hostname or ""
        self.connection = connection
        self.name = connection.name
        self._own_secrets = _secrets(connection)
        self._hidden: tuple[bytes, ...] = self._own_secrets
        self._hidden_for: AccessToken | None = None
        self.streams = streams
        self.tokens = tokens
        self.verdicts = verdicts
        self.counters = counters
        self.replay = connection.replay
        # What most connections need not be asked about on every request.
        self.replays_all = connection.replay.methods == "all"
        self.timeouts = connection.timeouts
        self.classifier = Classifier(connection.auth_errors)
        self.base_path = url.path.rstrip("/").encode()
        self.host_line = b"\r\nHost: " + url.netloc.rpartition("@")[2].encode() + b"\r\n"
        via = connection.send_token_via
        self.injector: Injector | None = None
        if tokens is not None:
            self.injector = (
                HeaderInjector(via.header) if via.header is not None else QueryInjector(via.query)  # type: ignore[arg-type]
            )
        self.credential_lines = _lines_named(self.injector.name) if isinstance(self.injector, HeaderInjector) else None
        names = [name.lower().encode() for name, _ in connection.headers]
        self.set_lines = _SetLines(
            _lines_named(*names) if names else None,
            b"".join(
                f"{name}: {value}\r\n".encode("latin-1") for name, value in connection.headers if value is not None
            ),
        )
        # What `admit` would ask of each request, asked once.
        self.admits_all = not connection.allowed_methods and not connection.allowed_paths
        self.replaces_credential = connection.on_client_credential == "replace"
        self.guards_dots = bool(self.base_path) or bool(connection.allowed_paths)
        route = connection.route
        prefix = route.prefix.rstrip("/") if route is not None else ""
        self.strip = len(prefix) if route is not None and route.strip else 0
        self.location = (
            LocationMap(url.scheme, host, port, url.path.rstrip("/"), prefix, route.strip)
            if route is not None and connection.rewrite_location
            else None
        )

    def hidden(self, token: AccessToken | None) -> tuple[bytes, ...]:
        """Return what no log line about this connection may show."""
        if token is not self._hidden_for:
            self._hidden_for = token
            self._hidden = self._own_secrets if token is None else (*self._own_secrets, token.value.reveal().encode())
        return self._hidden


def all_hidden() -> tuple[bytes, ...]:
    """Return every secret that is alive: what the line of a request that no connection claims may not show."""
    return _worth_hiding(living())


def _secrets(connection: Connection) -> tuple[bytes, ...]:
    iclient = connection.iclient
    secrets = (connection.password, iclient.client_secret if iclient is not None else None)
    return _worth_hiding(secret for secret in secrets if secret is not None)


def _worth_hiding(secrets: Iterable[Secret]) -> tuple[bytes, ...]:
    # Shorter ones would shred the log without hiding anything.
    return tuple(text for text in (secret.reveal().encode() for secret in secrets) if len(text) >= 8)


class _SetLines:
    """The lines of `headers`: `pattern` finds those that the application must not keep, `lines` are ours."""

    __slots__ = ("lines", "pattern")

    def __init__(self, pattern: re.Pattern[bytes] | None, lines: bytes) -> None:
        self.pattern = pattern
        self.lines = lines


def _lines_named(*names: bytes) -> re.Pattern[bytes]:
    """Find whole lines of these names, in every case, with `_` for `-` and with trailing underscores."""
    alternatives = b"|".join(re.escape(name).replace(rb"\-", rb"[-_]") for name in names)
    return re.compile(rb"\r\n(?:" + alternatives + rb")_*:[^\r]*(?=\r)", re.IGNORECASE)
