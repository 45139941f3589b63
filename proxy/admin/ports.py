"""What the admin listener asks of the running proxy: five ports that the runtime fills, and their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.admin.pac import Forward
    from proxy.admin.status import ConnectionStatus
    from proxy.secret import Secret


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a connection's token.

    `at` is in seconds since the epoch. `kind` is a word of ours ("renewed", "refused", "authorized" …), `text` a
    sentence of ours; neither holds a secret or the words of a server.
    """

    at: float
    kind: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class TestResult:
    """What the connection's `ping` brought: the upstream's status, None without one; `good`: one of `ping.status`.

    `detail` is a sentence of ours; `ms` is how long it took, in milliseconds.
    """

    status: int | None
    good: bool
    detail: str
    ms: float


@dataclass(frozen=True, slots=True)
class Started:
    """An authorization that has begun: where the browser goes (`url`), and what binds its callback to this browser.

    `redirect_origin` is `scheme://host[:port]` of the redirect URL: where the cookie with `session` has to be set.
    """

    url: str
    session: Secret
    redirect_origin: str


@dataclass(frozen=True, slots=True)
class Finished:
    """An authorization that brought a grant, stored by now."""

    connection: str


@dataclass(frozen=True, slots=True)
class DeviceStarted:
    """A device authorization that has begun (RFC 8628 §3.2); the proxy polls by itself. `expires_in` is in seconds."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: float


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What became of reading the definitions again: `changed` names connections and settings, `faults` why not."""

    applied: bool
    changed: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


class AuthorizationError(ProxyError):
    """An authorization did not succeed.

    `code`: `invalid_state`, `session_mismatch`, `issuer_mismatch`, `access_denied`, …; `status` is 4xx, or 502 when the
    exchange of the code failed; `message` is a sentence of ours, never the authorization server's.
    """

    def __init__(self, code: str, status: int, message: str) -> None:
        self.code = code
        self.status = status
        self.message = message
        super().__init__(f"{code}: {message}")


class Watch(Protocol):
    """What there is to see."""

    def connections(self) -> Sequence[ConnectionStatus]:
        """Return every connection's status, in the order of the definitions."""
        ...

    def events(self, name: str) -> Sequence[Event]:
        """Return the last 50 events of that connection, newest first; none for an unknown name."""
        ...


class TokenOperations(Protocol):
    """What can be done with the token of a connection; asked only for names that `Watch` showed."""

    async def renew(self, name: str) -> None:
        """Renew the token now; raises `TokenUnavailable` when none comes."""
        ...

    async def revoke(self, name: str) -> tuple[str, ...]:
        """Revoke what there is (RFC 7009) and forget it; return a code for each token. Raises `Refusal`."""
        ...

    async def test(self, name: str) -> TestResult:
        """Send the connection's `ping`; raises `Refusal` when there is nothing to send it with."""
        ...


class Authorizations(Protocol):
    """Grants that a human gives."""

    async def start(self, name: str) -> Started:
        """Begin an authorization of that connection; raises `Refusal` when its grant needs none."""
        ...

    async def finish(self, path_name: str, query: str, sessions: tuple[str, ...]) -> Finished:
        """Take the callback's raw query and redeem its code; raises `AuthorizationError`.

        `path_name` is the iClient or connection that the path names. `sessions` are those of every flow that the
        browser has open (one per tab): that of the state's flow must be among them, compared in constant time.
        """
        ...

    async def device(self, name: str) -> DeviceStarted:
        """Begin a device authorization and poll for its end; raises `Refusal`."""
        ...


class Process(Protocol):
    """The running process."""

    async def reload(self) -> ReloadReport:
        """Read the definitions again and apply them, all or nothing."""
        ...

    def quit(self) -> None:
        """Begin to drain, as SIGTERM does."""
        ...


class LocalUse(Protocol):
    """What applications on this machine need to use the proxy."""

    def forward(self) -> Forward | None:
        """Return the forward listener that is open, None without one."""
        ...

    def authority(self) -> str | None:
        """Return the certificate of the local authority (PEM), None where nothing is intercepted."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """All five; one object may fill several."""

    watch: Watch
    tokens: TokenOperations
    authorizations: Authorizations
    process: Process
    local: LocalUse
