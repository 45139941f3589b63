"""URLs and the domains they may lie in: two other parsers see the same host, port and scheme in what is let through."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import httpx

from proxy.definitions.domains import DomainError, OAuthUrl, check_url, is_metadata, parse_url, parse_valid_domain
from tests.fuzz.targets import Target

_DOMAINS: Final = ("example.com", "api.example.org:8443", "127.0.0.1:8080", "localhost:9")


def check(data: bytes) -> None:
    """See the rule."""
    text = data.decode("utf-8", "replace")
    _entry(text)
    try:
        url = parse_url(text)
    except DomainError as error:
        assert error.code
        assert error.message
        return
    assert parse_url(str(url)) == url, "its own spelling is another URL"
    assert 0 < url.port < 65536
    assert url.path_and_query.startswith("/")
    assert url.authority.isascii()
    _second_opinions(text, url)
    for insecure in (False, True):
        try:
            allowed = check_url(url, _DOMAINS, insecure)
        except DomainError:
            continue
        _within(allowed, insecure=insecure)


def _entry(text: str) -> None:
    try:
        entry = parse_valid_domain(text)
    except DomainError as error:
        assert error.code in {"valid_domain_too_broad", "valid_domain_invalid"}
        return
    assert entry.covers(entry.host)
    assert not entry.covers(f"x{entry.host}"), "it reaches beyond a label"
    assert entry.exact or "." in entry.host
    assert not entry.covers(f"{entry.host}.evil")


def _second_opinions(text: str, url: OAuthUrl) -> None:
    split = urlsplit(text)
    host = (split.hostname or "").removesuffix(".")
    assert split.scheme == url.scheme
    assert split.username is None
    assert host == url.host or _same_address(host, url), f"urllib dials {host!r}"
    assert (split.port or _default(url)) == url.port
    try:
        other = httpx.URL(str(url))
    except httpx.InvalidURL:  # a label that begins with xn-- and is none: it reads no such URL
        return
    host = other.raw_host.decode("ascii").removesuffix(".")
    assert host == url.host or _same_address(host, url), f"httpx dials {host!r}"
    assert (other.port or _default(url)) == url.port
    assert other.scheme == url.scheme
    assert not other.userinfo


def _default(url: OAuthUrl) -> int:
    return 443 if url.scheme == "https" else 80


def _same_address(host: str, url: OAuthUrl) -> bool:
    return url.address is not None and url.address == OAuthUrl("https", host, 1, "/").address


def _within(url: OAuthUrl, *, insecure: bool) -> None:
    assert not is_metadata(url.host)
    place = (url.host, url.port)
    if url.scheme == "http":
        assert insecure
        assert place in {("api.example.org", 8443), ("127.0.0.1", 8080), ("localhost", 9)}
    assert (
        (url.port == 443 and (url.host == "example.com" or url.host.endswith(".example.com")))
        or (url.port == 8443 and (url.host == "api.example.org" or url.host.endswith(".api.example.org")))
        or place in {("127.0.0.1", 8080), ("localhost", 9)}
    )


TARGET: Final = Target(
    "only DomainError; what is let through lies in the domains for urllib and httpx, too; its spelling is the same URL",
    check,
    tuple(
        each.encode()
        for each in (
            "https://example.com/x?y=z",
            "HTTPS://Example.COM.:443/",
            "https://a.example.com",
            "https://evil.com@example.com/",
            "https://example.com@evil.com/",
            "https://example.com\\@evil.com",
            "https://example.com#@evil.com/",
            "http://127.0.0.1:8080/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:127.0.0.1]:8080/",
            "https://example.com:443:443/",
            "https://example.com:/",
            "https://example.com:00443/",
            "https://xn--e1afmkfd.example.com/",
            "https://\u0435xample.com/",
            "https://example.com%2eevil.com/",
            "https://example.com%00.evil.com",
            "//example.com/",
            "https:/example.com",
            "https:///example.com",
            "https://a..example.com/",
            "https://-a.example.com/",
            "http://169.254.169.254/latest",
            "https://api.example.org:8443/x",
            "http://localhost:9/",
            "https://[::1]/",
            "https://example.com?x",
            "https://example.com:65536/",
            "https://example.com.evil.com/",
            "https://evilexample.com/",
            "example.com:8443",
        )
    ),
)
