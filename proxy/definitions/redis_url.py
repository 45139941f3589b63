"""The URL of a Redis server, as `redis://`, `rediss://` and `unix://` are written everywhere. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from proxy.definitions.notation.kinds import Kind
from proxy.definitions.notation.nodes import Scalar
from proxy.definitions.notation.values import SCHEMA, SecretValue, Value
from proxy.definitions.settings import RedisAddress
from proxy.errors import ProxyError
from proxy.secret import Secret

if TYPE_CHECKING:
    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading

SECURED: Final = "rediss"
_SCHEMES: Final = ("redis", SECURED, "unix")
_PORT: Final = 6379  # where Redis listens unless it is told otherwise
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_DATABASE: Final = re.compile(r"0|[1-9]\d{0,4}")
_PRINTABLE: Final = re.compile(r"[!-~]+")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PASSWORD: Final = re.compile(r"[a-z+.-]*://[^/?#]*:[^/?#]+@", re.IGNORECASE)
_FORMS: Final = "redis://[user:password@]host[:port][/db], rediss://… or unix://[user:password@]/path[?db=0]"


class RedisUrlError(ProxyError):
    """The URL is none; the message never quotes it, since it may hold a password."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the URL leads; `secured`: by TLS."""

    address: RedisAddress
    secured: bool


@dataclass(frozen=True)
class RedisUrl(Kind[Server]):
    """A URL, referred to or written out; one with a password in it is a secret like any other."""

    def read(self, node: Node, reading: Reading) -> Server:
        kind = SecretValue() if not isinstance(node, Scalar) or _PASSWORD.match(node.text) else Value()
        written = kind.read(node, reading)
        try:
            return parse(written if isinstance(written, Secret) else Secret(written))
        except RedisUrlError as error:
            raise reading.refused(node, "invalid_url", str(error)) from None

    def schema(self) -> dict[str, Any]:
        return SCHEMA


def parse(written: Secret) -> Server:
    """Return where a URL leads. Raises `RedisUrlError`."""
    url = _split(written.reveal())
    user, at, host = url.netloc.rpartition("@")
    username, password = _credential(user) if at else (None, None)
    if url.scheme == "unix":
        if host or not url.path.startswith("/"):
            raise RedisUrlError("after unix:// comes the path of a socket, as in unix:///run/redis/redis.sock")
        found = re.fullmatch(r"(?:db=([^&]*))?", url.query)
        if found is None:
            raise RedisUrlError("a unix:// URL has no query but ?db=0")
        number = _database(found[1] or "0")
        address = RedisAddress(path=unquote(url.path), database=number, username=username, password=password)
        return Server(address, secured=False)
    if url.query:
        raise RedisUrlError("the URL has no query; other keys of store say how the server is spoken to")
    name, port = _host(url)
    address = RedisAddress(
        host=name,
        port=port,
        database=_database(url.path.removeprefix("/") or "0"),
        username=username,
        password=password,
    )
    return Server(address, secured=url.scheme == SECURED)


def _split(text: str) -> SplitResult:
    if not _PRINTABLE.fullmatch(text) or _PERCENT.search(text):
        raise RedisUrlError("the URL holds what has to be percent-encoded")
    try:
        url = urlsplit(text)
    except ValueError:
        raise RedisUrlError(f"expected {_FORMS}") from None
    if url.scheme not in _SCHEMES or "://" not in text:
        raise RedisUrlError(f"expected {_FORMS}")
    if url.fragment or text.endswith("#"):
        raise RedisUrlError("a # in user name or password has to be written as %23")
    return url


def _credential(user: str) -> tuple[str | None, Secret | None]:
    name, colon, password = user.partition(":")
    if not colon or not password:
        raise RedisUrlError("a user name needs its password: user:password@, or :password@ for the default user")
    return unquote(name) or None, Secret(unquote(password))


def _host(url: SplitResult) -> tuple[str, int]:
    try:
        host, port = url.hostname or "", url.port
    except ValueError:
        raise RedisUrlError("the port of the URL is none; / and ? in a password are %2F and %3F") from None
    if not _HOST.fullmatch(host):
        raise RedisUrlError(f"the URL names no host; expected {_FORMS}")
    if port == 0:
        raise RedisUrlError("nobody listens on port 0")
    return host, port if port is not None else _PORT


def _database(text: str) -> int:
    if not _DATABASE.fullmatch(text):
        raise RedisUrlError("the path of the URL is the number of a database, as in redis://host:6379/0")
    return int(text)
