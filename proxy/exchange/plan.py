"""What a connection's definition comes to on the wire: bytes and tables made once, read by every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.exchange.aim import Aims, lines_named
from proxy.exchange.classify import Classifier
from proxy.exchange.inject import HeaderInjector, QueryInjector
from proxy.secret import SHORTEST, Beginning

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable

    from proxy.access_token import AccessToken, Refused
    from proxy.definitions.models import Connection
    from proxy.definitions.templates.placeholders import Ambient
    from proxy.errors import Refusal
    from proxy.exchange.aim import Aim, Origin, Origins
    from proxy.exchange.inject import Injector
    from proxy.exchange.record import ConnectionCounters
    from proxy.exchange.stream import Stream
    from proxy.secret import Secret


# How many replaced tokens of a connection its lines know, and by how much: of the tokens themselves nothing else
# is kept. Shorter beginnings might be words that occur anyway.
_EARLIER: Final = 3
_BEGINNING: Final = 12


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

    def take(self, owner: object) -> Stream | None:
        """Return an idle stream that is still open, first of all one that is bound to `owner`."""
        ...

    def open(self, waiter: Waiter) -> None:
        """Have `waiter` told of a stream, a new one or one that falls idle first."""
        ...

    def forget(self, waiter: Waiter) -> None:
        """`waiter` has left."""
        ...


# By name, since nothing copies an object of a compiled class.
_PARTS: Final = (
    "_earlier", "_hidden", "_hidden_for", "_own_secrets", "admits_all", "aim", "aims", "classifier", "connection",
    "counters", "credential_lines", "guards_dots", "injector", "name", "replay", "replays_all", "strip", "timeouts",
    "tokens", "verdicts",
)  # fmt: skip


class Plan:
    """One connection, ready for the data path. `aim` is where all of its requests go, None where `aims` has to say."""

    __slots__ = _PARTS

    def __init__(
        self,
        connection: Connection,
        origins: Origins,
        tokens: TokenSource | None,
        verdicts: TokenVerdicts | None,
        counters: ConnectionCounters,
        ambient: Callable[[], Ambient],
        *,
        via: bytes = b"",
        named: Origin | None = None,
    ) -> None:
        self.aims = Aims(connection, origins, ambient, via=via, named=named)
        aim: Aim | None = self.aims.fixed
        self.aim = aim
        self.connection = connection
        self.name = connection.name
        self._own_secrets = _secrets(connection)
        self._hidden: tuple[bytes, ...] = self._own_secrets
        self._hidden_for: AccessToken | None = None
        self._earlier: tuple[Beginning, ...] = ()
        self.tokens = tokens
        self.verdicts = verdicts
        self.counters = counters
        self.replay = connection.replay
        # What most connections need not be asked about on every request.
        self.replays_all = connection.replay.methods == "all"
        self.timeouts = connection.timeouts
        self.classifier = Classifier(connection.auth_errors)
        placement = connection.send_token_via
        self.injector: Injector | None = None
        if tokens is not None:
            self.injector = (
                HeaderInjector(placement.header) if placement.header is not None else QueryInjector(placement.query)  # type: ignore[arg-type]
            )
        self.credential_lines: re.Pattern[bytes] | None = None
        if isinstance(self.injector, HeaderInjector):
            self.credential_lines = lines_named(self.injector.name)
        # What `admit` would ask of each request, asked once.
        self.admits_all = (
            not connection.allowed_methods
            and not connection.allowed_paths
            and (tokens is None or connection.on_client_credential == "replace")
        )
        self.guards_dots = aim is None or bool(aim.base_path) or bool(connection.allowed_paths)
        route = connection.route
        prefix = route.prefix.rstrip("/") if route is not None else ""
        self.strip = len(prefix) if route is not None and route.strip else 0

    def at(self, aims: Aims) -> Plan:
        """Return the plan for requests that name their origin themselves: only where they go is another matter.

        Their targets stay as they are, and begin with the path of `base_url`, which dot segments must not leave.
        """
        return _Elsewhere(self, aims)

    def hidden(self, token: AccessToken | None) -> tuple[bytes, ...] | None:
        """Return what no log line about this connection may show: secrets, this token, what earlier ones began with.

        An application may have got an earlier one from the upstream, and it may be good for a while.
        """
        last = self._hidden_for
        if token is not last:
            self._hidden_for = token
            if last is not None:
                text = last.value.reveal().encode()[:_BEGINNING]
                others = (each for each in self._earlier if each != text)
                if len(text) == _BEGINNING:
                    # One more, for the current one gets in where an exchange with the one before ends late.
                    self._earlier = (Beginning(text), *others)[: _EARLIER + 1]
            current = () if token is None else (token.value.reveal().encode(),)
            earlier = (each for each in self._earlier if not current or not current[0].startswith(each))
            self._hidden = (*self._own_secrets, *current, *earlier)
        return self._hidden


class _Elsewhere(Plan):
    """The same as another plan, but for where the requests go."""

    __slots__ = ()

    def __init__(self, plan: Plan, aims: Aims) -> None:
        for name in _PARTS:
            setattr(self, name, getattr(plan, name))
        self.aims, self.aim = aims, aims.fixed
        self.strip = 0


class Passage(Plan):
    """The plan of what no connection claims: nothing is put in, and no secret at all may show in its log line.

    Targets are whole URLs, for that line's sake; they begin with `prefix`, which is taken away.
    """

    __slots__ = ()

    def __init__(
        self,
        connection: Connection,
        origins: Origins,
        counters: ConnectionCounters,
        ambient: Callable[[], Ambient],
        *,
        via: bytes,
        named: Origin,
        prefix: bytes,
    ) -> None:
        super().__init__(connection, origins, None, None, counters, ambient, via=via, named=named)
        self.strip = len(prefix)

    def hidden(self, token: AccessToken | None) -> None:
        """Hide every secret that is alive: the application may have put any of them into the path."""


def _secrets(connection: Connection) -> tuple[bytes, ...]:
    iclient = connection.iclient
    secrets = [connection.password, connection.refresh_token, *(secret for _, secret in connection.secrets)]
    if iclient is not None:
        secrets += (iclient.client_secret, *(secret for _, secret in iclient.secrets))
    return _worth_hiding(secret for secret in secrets if secret is not None)


def _worth_hiding(secrets: Iterable[Secret]) -> tuple[bytes, ...]:
    return tuple(text for text in (secret.reveal().encode() for secret in secrets) if len(text) >= SHORTEST)
