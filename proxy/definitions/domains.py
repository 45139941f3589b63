"""OAuth URLs and the domains they may lie in: parsed once, strictly, and compared label by label. Pure, no DNS.

What is parsed here is what is dialled: whoever sends a token request takes host, port and target from `OAuthUrl`
and never gives the text to a second parser.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from proxy.definitions.suffixes import PUBLIC_SUFFIXES
from proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SHAPE: Final = re.compile(r"(https?)://([^/?]*)([/?].*)?", re.IGNORECASE | re.DOTALL)
_PORTS: Final = {"https": 443, "http": 80}
# RFC 3986 §2 leaves these out of URLs; `\` is the one that parsers read differently.
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f<>\"\\^`{|}]")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# WHATWG "ends in a number": getaddrinfo takes 2130706433, 0x7f.1 and 127.1 for loopback.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Where clouds hand out credentials, beside link-local: AWS over IPv6 to machines and to pods, Google over IPv6,
# Alibaba, Azure's host agent, Oracle.
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)
_METADATA_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})


class DomainError(ProxyError):
    """A URL or a valid domain is refused: a code, and a message that quotes hosts and ports at most."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class OAuthUrl:
    """A URL taken apart: `host` is lower case without a trailing dot or brackets, `port` is always there."""

    scheme: Literal["https", "http"]
    host: str
    port: int
    path_and_query: str

    @property
    def address(self) -> Address | None:
        """The host as an IP address, None for a name."""
        return _address(self.host)

    @property
    def authority(self) -> str:
        """What the `Host` field says: the port only where it is not that of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path_and_query}"


@dataclass(frozen=True, slots=True)
class ValidDomain:
    """One entry of `valid_domains`; `exact` for an IP or a single label, which stand only for themselves."""

    host: str
    port: int | None
    exact: bool

    def covers(self, host: str) -> bool:
        """Tell whether the host is this one or, at a label boundary, below it."""
        return host == self.host or (not self.exact and host.endswith("." + self.host))


def parse_url(text: str) -> OAuthUrl:
    """Take an absolute http or https URL apart (RFC 3986), refusing all that two parsers could read differently.

    Raises `DomainError`: `bad_url_char`, `non_ascii_host`, `fragment_forbidden`, `userinfo_forbidden`,
    `ip_host_forbidden` for numeric spellings, else `invalid_url`.
    """
    shape = _SHAPE.fullmatch(text)
    if not text.isascii():
        place = "host" if shape is None or not shape[2].isascii() else "path"
        if place == "host":
            raise DomainError("non_ascii_host", "the host has a character outside ASCII; write its xn-- form")
        raise DomainError("bad_url_char", "the URL has a character outside ASCII; percent-encode it")
    if odd := _NOT_IN_URLS.search(text):
        raise DomainError("bad_url_char", f"the URL has the character {odd[0]!r}; percent-encode it or remove it")
    if shape is None:
        raise DomainError(
            "invalid_url",
            "an absolute URL is expected: https:// (or http://), then a host, as in https://example.com/path",
        )
    scheme: Literal["https", "http"] = "https" if shape[1].lower() == "https" else "http"
    if "@" in shape[2].split("#")[0]:
        raise DomainError(
            "userinfo_forbidden", "the URL has a user name before its host (everything up to the @); remove it"
        )
    if "#" in text:
        raise DomainError(
            "fragment_forbidden", "the URL has a fragment (RFC 6749 §3.2 forbids it); remove the # and what follows"
        )
    host, port = _split(shape[2], "invalid_url")
    rest = shape[3] or "/"
    return OAuthUrl(scheme, canonical_host(host), port or _PORTS[scheme], rest if rest[0] == "/" else "/" + rest)


def canonical_host(host: str) -> str:
    """Return a host as it is compared and dialled: lower case, no trailing dot, an address in its canonical spelling.

    Raises `DomainError` (`non_ascii_host`, `ip_host_forbidden`, `invalid_host`).
    """
    if not host.isascii():
        raise DomainError("non_ascii_host", "the host has a character outside ASCII; write its xn-- form")
    if host.startswith("["):
        return _ipv6(host)
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise DomainError(
                "ip_host_forbidden",
                f"the host {name[:60]!r} is a number that resolvers take for an address; write a.b.c.d",
            ) from None
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise DomainError("invalid_host", f"{name[:60]!r} is not a host name")
    return name


def parse_valid_domain(entry: str) -> ValidDomain:
    """Read one entry of `valid_domains`: `example.com`, `example.com:8443`, `localhost:8080`, `127.0.0.1:8080`.

    Raises `DomainError` (`valid_domain_too_broad`, `valid_domain_invalid`).
    """
    if "*" in entry:
        raise DomainError(
            "valid_domain_too_broad", f"{entry[:60]!r}: an entry covers its sub-domains as it is; write it without *"
        )
    if "/" in entry:
        raise DomainError(
            "valid_domain_invalid", f"{entry[:60]!r} is not a domain; write the host alone, without scheme or path"
        )
    try:
        text, port = _split(entry, "valid_domain_invalid")
        host = canonical_host(text)
    except DomainError as error:
        raise DomainError("valid_domain_invalid", f"{entry[:60]!r} is not a domain: {error.message}") from None
    if _address(host) is not None:
        if port is None:
            raise DomainError("valid_domain_invalid", f"an address needs its port, as in {text}:8443")
        return ValidDomain(host, port, exact=True)
    if "." not in host:
        if port is None:
            raise DomainError(
                "valid_domain_too_broad",
                f"{host!r} is a single label and would cover a whole top-level domain; for one host write {host}:8080",
            )
        return ValidDomain(host, port, exact=True)
    if host in PUBLIC_SUFFIXES:
        raise DomainError(
            "valid_domain_too_broad", f"everyone can register a name below {host!r}; write the domain that is yours"
        )
    return ValidDomain(host, port, exact=False)


@lru_cache(maxsize=256)
def _parsed(valid_domains: tuple[str, ...]) -> tuple[ValidDomain, ...]:
    return tuple(parse_valid_domain(entry) for entry in valid_domains)


def check_url(
    url: OAuthUrl | str,
    valid_domains: Iterable[str],
    allow_insecure: bool = False,  # noqa: FBT001, FBT002 it is the key of that name
    *,
    host_from_placeholder: bool = False,
) -> OAuthUrl:
    """Return the URL if a request may go there, before any DNS.

    `allow_insecure` lets http through to the exact hosts and ports listed. Private and loopback addresses are refused
    only when the host came from a placeholder, metadata and link-local ones always. Raises `DomainError`; its codes
    are those of `parse_url`, `metadata_address`, `insecure_url`, `ip_host_forbidden`, `port_not_allowed` and
    `url_outside_valid_domains`.
    """
    url = parse_url(url) if isinstance(url, str) else url
    domains = _parsed(tuple(valid_domains))
    address = url.address
    if is_metadata(url.host):
        raise DomainError("metadata_address", f"{url.host} is a metadata or link-local address; it is refused always")
    if address is not None and host_from_placeholder and not address.is_global:
        raise DomainError("ip_host_forbidden", f"{url.host} is a private address and came from a placeholder")
    listed = any(entry.host == url.host and entry.port == url.port for entry in domains)
    if url.scheme == "http" and not (allow_insecure and listed):
        raise DomainError("insecure_url", _insecure(url, allow_insecure=allow_insecure))
    if address is not None and not listed:
        raise DomainError(
            "ip_host_forbidden", f"the host is an address; list exactly {_entry(url)} in valid_domains if that is meant"
        )
    covering = [entry for entry in domains if entry.covers(url.host)]
    if not covering:
        raise DomainError(
            "url_outside_valid_domains", f"the host {url.host!r} is not in valid_domains ({_listing(domains)})"
        )
    if not any(url.port == (entry.port or 443) for entry in covering):
        raise DomainError("port_not_allowed", f"port {url.port} is not allowed; write {_entry(url)} in valid_domains")
    return url


def entry_for(url: OAuthUrl) -> str:
    """Return the entry of `valid_domains` that covers this URL: the default where none is written."""
    named = "." in url.host and url.address is None
    return url.host if named and url.scheme == "https" and url.port == 443 else _entry(url)


def is_loopback(host: str) -> bool:
    """Tell whether a canonical host is this machine by its spelling alone."""
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") if address is None else address.is_loopback


def is_metadata(host: str) -> bool:
    """Tell whether a canonical host is where a cloud hands out credentials, or link-local."""
    address = _address(host)
    if address is None:
        return host in _METADATA_NAMES
    return address.is_link_local or address in _METADATA


def _split(authority: str, code: str) -> tuple[str, int | None]:
    """Split `host[:port]`, `[v6][:port]`; the host is not looked at."""
    cut = authority.rfind("]") + 1 or authority.find(":") if authority.startswith("[") else authority.find(":")
    host, rest = (authority, "") if cut < 0 else (authority[:cut], authority[cut:])
    if not host:
        raise DomainError(code, "there is no host")
    if not rest:
        return host, None
    digits = rest[1:]
    if (
        rest[0] != ":"
        or not (digits.isascii() and digits.isdecimal())
        or len(digits) > 5
        or not 0 < int(digits) < 65536
    ):
        raise DomainError(code, "the port is not a number from 1 to 65535")
    return host, int(digits)


def _ipv6(host: str) -> str:
    inner = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.IPv6Address(inner)
    except ValueError:
        raise DomainError("invalid_host", "only an IPv6 address may stand in brackets") from None
    if address.scope_id is not None or address.ipv4_mapped is not None or not host.endswith("]"):
        raise DomainError(
            "ip_host_forbidden",
            "an IPv6 address with a zone or an IPv4 address inside is refused; write the plain address",
        )
    return str(address)


def _address(host: str) -> Address | None:
    if not (":" in host or host[-1:].isdecimal()):
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _entry(url: OAuthUrl) -> str:
    return f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}"


def _insecure(url: OAuthUrl, *, allow_insecure: bool) -> str:
    if not allow_insecure:
        return "http sends credentials in clear; use https, or set allow_insecure: true"
    return f"http is allowed to listed hosts and ports only; write {_entry(url)} in valid_domains"


def _listing(domains: tuple[ValidDomain, ...]) -> str:
    names = [entry.host if entry.port is None else f"{entry.host}:{entry.port}" for entry in domains]
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
