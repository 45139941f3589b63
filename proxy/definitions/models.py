"""What the operator wrote, as frozen values: names are those of the YAML, durations are seconds, sizes are bytes.

A word on length: it is one page of names that belong side by side, without a line that decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from proxy.definitions.settings import Limits, Listeners, Log, Shutdown
from proxy.definitions.templates.placeholders import EMPTY, Template, TemplateMap
from proxy.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.definitions.keys.signing_keys import SigningKey
    from proxy.definitions.settings import AuthorityFiles, EgressProxy, FileStore, RedisStore, TcpBind
    from proxy.definitions.templates.placeholders import UrlTemplate

Grant = Literal[
    "authorization_code",
    "client_credentials",
    "password",
    "jwt_bearer",
    "self_signed_jwt",
    "refresh_token",
    "device_code",
    "token_exchange",
]
ClientAuth = Literal[
    "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth", "none"
]
Algorithm = Literal[
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderPlacement:
    """`scheme` "" sends the bare token."""

    name: str = "Authorization"
    scheme: str = "Bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlacement:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendTokenVia:
    """Exactly one of the two is set."""

    header: HeaderPlacement | None = None
    query: QueryPlacement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthErrorRule:
    """AND between the parts that are set; `status` holds inclusive ranges, so `401` is `(401, 401)`.

    `path` is a path into a JSON body, or XPath 1.0 where it begins with a slash; without `values` any non-empty value
    matches. A value that ends in `*` is a prefix.
    """

    name: str
    status: tuple[tuple[int, int], ...] | None = None
    path: str | None = None
    values: tuple[str, ...] = ()
    www_authenticate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthErrors:
    """`any` already holds the added rule `status-401` where no written rule names a status; `never` wins."""

    any: tuple[AuthErrorRule, ...] = (AuthErrorRule(name="status-401", status=((401, 401),)),)
    never: tuple[AuthErrorRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """`ca`, `client_cert` and `client_key` are PEM text (the loader has read the files).

    `client_cert_ends` is when the client certificate expires, in wall seconds.
    """

    ca: str | None = None
    client_cert: str | None = None
    client_key: Secret | None = None
    client_cert_ends: float | None = None
    server_name: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A file whose secret somebody else rotates: read anew for each request. `path` is absolute or as it was named."""

    path: Path


RotatedSecret = Secret | SecretFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Jwt:
    """How assertions are made; exactly one of `key` and `token` is set (`token`: a ready-made one)."""

    algorithm: Algorithm | None = None
    key: SigningKey | None = None
    key_id: str | None = None
    x5t: str | None = None  # base64url of the certificate's SHA-1, as the header wants it
    x5t_s256: str | None = None
    payload: TemplateMap = EMPTY
    header: TemplateMap = EMPTY
    lifetime: float = 300.0
    token: RotatedSecret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOverride:
    """How one of the three requests differs from its default; `body` replaces the fields, `extra` adds to them.

    In `headers` and `extra` None removes what would be there.
    """

    method: Literal["POST", "GET", "PUT", "DELETE"] = "POST"
    url: UrlTemplate | None = None
    headers: tuple[tuple[str, Template | None], ...] = ()
    body: TemplateMap | None = None
    body_format: Literal["form", "json", "query"] = "form"
    extra: TemplateMap = EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenExchange:
    """RFC 8693 §2.1."""

    subject_token: RotatedSecret
    subject_token_type: str = "urn:ietf:params:oauth:token-type:access_token"
    actor_token: RotatedSecret | None = None
    actor_token_type: str | None = None
    requested_token_type: str | None = None
    audience: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IClient:
    """One registration. A URL that is None is read from the metadata of `issuer`, or not used by the grant.

    `redirect_url` None: the admin listener's `/oauth/callback/NAME`. `settings` and `secrets` are for placeholders.
    """

    name: str
    client_id: Template | None = None
    client_secret: Secret | None = None
    grant_type: Grant
    pkce: Literal["S256", "plain", "off"] = "S256"
    client_auth: ClientAuth
    basic_encoding: Literal["form", "raw"] = "form"
    issuer: str | None = None
    authorization_url: UrlTemplate | None = None
    token_url: UrlTemplate | None = None
    revocation_url: UrlTemplate | None = None
    device_authorization_url: UrlTemplate | None = None
    redirect_url: Template | None = None
    authorization_params: tuple[tuple[str, Template | None], ...] = ()
    valid_domains: tuple[str, ...]  # the loader derives the default from the URLs; empty only for self_signed_jwt
    jwt: Jwt | None = None
    settings: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, Secret], ...] = ()
    access_token_request: RequestOverride = RequestOverride()
    refresh_token_request: RequestOverride = RequestOverride()
    revocation_request: RequestOverride = RequestOverride()
    token_exchange: TokenExchange | None = None
    scopes: tuple[str, ...] = ()
    scope_delimiter: str = " "
    access_token_path: str = "access_token"
    refresh_token_path: str = "refresh_token"
    expires_in_path: str = "expires_in"
    expires_in_unit: Literal["s", "ms", "at"] = "s"
    default_token_ttl: float | None = None
    refresh_ahead: float = 0.4  # a ratio when ≤ 1, else seconds
    refresh_ahead_written: bool = False  # written by the operator: the cap of 1 h does not apply
    keep_alive: float | None = 86400.0
    tls: Tls = Tls()
    allow_insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    prefix: str
    strip: bool = True
    host: str | None = None
    bind: TcpBind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    methods: Literal["all", "idempotent", "never"] = "all"
    on_success_status: Literal["all", "idempotent", "never"] = "idempotent"
    body_limit: int = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    connect: float = 5.0
    response: float = 60.0
    idle: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """The request of `iclient-proxy ping`; `status` holds inclusive ranges that count as good."""

    method: str = "GET"
    path: str = "/"
    status: tuple[tuple[int, int], ...] = ((200, 399),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """`iclient` is None where the connection needs no token; inheritance from the iClient is already applied.

    `base_url` is text as far as the definitions know it: only where it depends on the token answer is it a template.
    The same holds for `headers`: what is known is put in already. `settings`, `secrets` and `params` are for
    placeholders.
    """

    name: str
    iclient: IClient | None = None
    base_url: str | UrlTemplate
    route: Route | None = None
    hosts: tuple[str, ...] = ()
    username: str | None = None
    password: Secret | None = None
    refresh_token: Secret | None = None
    settings: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, Secret], ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, Template | None], ...] = ()  # None removes the header
    scopes: tuple[str, ...] = ()
    send_token_via: SendTokenVia = SendTokenVia(header=HeaderPlacement())
    auth_errors: AuthErrors = AuthErrors()
    on_client_credential: Literal["replace", "reject", "passthrough"] = "replace"
    allowed_paths: tuple[str, ...] = ()
    allowed_methods: tuple[str, ...] = ()
    rewrite_location: bool = True
    replay: Replay = Replay()
    timeouts: Timeouts = Timeouts()
    tls: Tls = Tls()
    ping: Ping = Ping()
    on_no_token: Literal["fail", "passthrough"] = "fail"
    required: bool = False
    prefetch: bool = True
    allow_insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """Everything the loader read, resolved and checked."""

    workers: int = 1
    via: Literal["forward", "always", "never"] = "forward"
    listeners: Listeners = field(default_factory=Listeners)
    log: Log = field(default_factory=Log)
    shutdown: Shutdown = field(default_factory=Shutdown)
    limits: Limits = field(default_factory=Limits)
    egress_proxy: EgressProxy | None = None
    store: FileStore | RedisStore | None = None  # None: in memory
    authority: AuthorityFiles | None = None  # where it lies or would lie; None where nothing says where
    connections: tuple[Connection, ...] = ()
