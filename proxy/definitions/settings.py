"""What the operator wrote about the process itself: listeners, log, limits, stores; as frozen values.

Names are those of the YAML, durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    from proxy.definitions.models import Tls
    from proxy.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicCredential:
    username: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerAuth:
    """One of `bearer`, `basic` and `client_ca`, a path, is set; `client_roots` is the PEM text in that file."""

    bearer: Secret | None = None
    basic: BasicCredential | None = None
    client_ca: str | None = None
    client_roots: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerTls:
    """Paths of the listener's certificate chain and key, and what was in these files (PEM) when they were checked.

    A renewed certificate has the path of the one before, so that only what is in it tells them apart.
    """

    cert: str
    key: str
    chain: str
    private: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpBind:
    """`127.0.0.1:7480`, `[::1]:7480`; port 0 takes any free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixBind:
    """`unix:/path`."""

    path: str


Bind = TcpBind | UnixBind


def seen_from_here(host: str) -> str:
    """Return the address at which this machine itself reaches a listener on `host`, which may be all addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 nothing listens here  # nosec B104


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseListener:
    bind: Bind = TcpBind(host="127.0.0.1", port=7480)
    allowed_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    auth: ListenerAuth | None = None
    tls: ListenerTls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """Where no unclaimed request goes: one of `network`, `host` (`*.` before it: below it), `port` is set."""

    network: IPv4Network | IPv6Network | None = None
    host: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityFiles:
    """Where the local certificate authority lies: certificate and key (PEM).

    `keys` (base64, separated by commas) open the key where it is sealed; None where it is not.
    """

    cert: Path
    key: Path
    keys: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardListener:
    """`intercept` is None where claimed hosts are not intercepted."""

    bind: Bind = TcpBind(host="127.0.0.1", port=3128)
    unclaimed: Literal["tunnel", "reject"] = "tunnel"
    claimed_connect: Literal["tunnel", "reject"] = "tunnel"
    proxy_auth: BasicCredential | None = None
    deny: tuple[Deny, ...] = ()
    intercept: AuthorityFiles | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressProxy:
    """The HTTP proxy that everything goes out through, by CONNECT; `credential` is `user:password`."""

    host: str
    port: int
    credential: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminListener:
    bind: Bind = TcpBind(host="127.0.0.1", port=7489)
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    auth: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """`reverse` is empty and `admin` is None where the operator wrote `false`; `forward` is None unless it is named.

    From the loader `reverse` is empty, too, where no connection has a route on it: such a listener is not opened.
    """

    reverse: tuple[ReverseListener, ...] = (ReverseListener(),)
    forward: ForwardListener | None = None
    admin: AdminListener | None = AdminListener()


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    access: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    drain_delay: float = 5.0
    grace: float = 25.0
    revoke: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A lower and an upper bound in seconds, for what doubles between them."""

    min: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    head_timeout: float = 10.0
    body_idle: float = 30.0
    keep_alive: float = 75.0
    write_idle: float = 60.0
    head_size: int = 64 * 1024
    header_line: int = 16 * 1024
    header_fields: int = 128
    target: int = 16 * 1024
    connections: int | Literal["auto"] = "auto"
    upstream_streams: int = 1000
    upstream_idle: float = 30.0
    tunnels: int = 1000
    tunnel_idle: float = 300.0
    replay_memory: int | Literal["auto"] = "auto"
    token_wait: float = 15.0
    token_connect: float = 3.0
    token_total: float = 10.0
    token_answer: int = 1024 * 1024
    inspect_raw: int = 64 * 1024
    inspect_decoded: int = 256 * 1024
    inspect_hold: float = 2.0
    backoff: Span = Span(min=1.0, max=60.0)
    brake: float = 300.0
    cooldown: Span = Span(min=30.0, max=600.0)
    definitions: int = 1000


@dataclass(frozen=True, slots=True)
class FileStore:
    """Grants are kept in the folder `path`, encrypted with the first of `keys` (base64, separated by commas)."""

    path: Path
    keys: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where a Redis server listens: `host` and `port`, or the `path` of its socket; `username` None: default user."""

    host: str = ""
    port: int = 6379
    path: str = ""
    database: int = 0
    username: str | None = None
    password: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisStore:
    """Grants are kept by a Redis server and shared by all replicas with the same `namespace`, encrypted as on disk.

    `tls` is None where streams to the server are plain. `on_failure` says what becomes of a rotating grant while the
    server is away; `required`: not ready before the server has answered.
    """

    address: RedisAddress
    keys: Secret
    namespace: str = "default"
    tls: Tls | None = None
    on_failure: Literal["hold", "refresh"] = "hold"
    required: bool = False
