"""The `base_url` of a connection, as far as it is known, and whether the token may go there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.definitions import domains
from proxy.definitions.resolve import resolved_base_url
from proxy.definitions.routes import path_fault
from proxy.definitions.templates.urls import placeholder_in_host
from proxy.definitions.tls import may_be_insecure

if TYPE_CHECKING:
    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.notation.shapes import Fields
    from proxy.definitions.resolve import Bearings
    from proxy.definitions.templates.placeholders import UrlTemplate


def base_url(fields: Fields, bearings: Bearings | None, reading: Reading) -> str | UrlTemplate | None:
    """Check `base_url` and return it: as text if it is known, as a template if it depends on the token answer.

    `bearings` is None where it can't be made; then only a URL without placeholders is looked at.
    """
    if "base_url" not in fields:
        reading.fault(
            fields.node,
            "missing_key",
            "base_url is missing; write where requests go, as in https://api.example.com",
            fields.path("base_url"),
        )
        return None
    written: UrlTemplate | None = fields.values.get("base_url")
    if written is None or (bearings is None and not written.plain):
        return None
    node = fields.nodes["base_url"]
    resolved = written.text if bearings is None else resolved_base_url(node, written, bearings, reading)
    if isinstance(resolved, str):
        return _checked(fields, node, resolved, reading)
    if resolved is not None:
        _check_unresolved(fields, node, resolved, reading)
    return resolved


def _checked(fields: Fields, node: Node, text: str, reading: Reading) -> str | None:
    try:
        url = domains.parse_url(text)
    except domains.DomainError as error:
        reading.fault(node, error.code, error.message)
        return None
    if "?" in url.path_and_query:
        reading.fault(node, "invalid_url", "base_url has no query; write it in the requests")
    elif (wrong := path_fault(url.path_and_query)) is not None:
        reading.fault(node, *wrong)
    elif domains.is_metadata(url.host):
        reading.fault(node, "metadata_address", f"{url.host} is a metadata or link-local address; it is refused always")
    elif url.scheme == "http" and not domains.is_loopback(url.host):
        _check_clear(fields, node, url.authority, reading)
    return str(url) if url.path_and_query != "/" else str(url).removesuffix("/")


def _check_unresolved(fields: Fields, node: Node, url: UrlTemplate, reading: Reading) -> None:
    """Check what is known of a URL that depends on the token answer."""
    if url.query is not None:
        reading.fault(node, "invalid_url", "base_url has no query; write it in the requests")
    if placeholder_in_host(url) and not fields.values.get("hosts"):
        reading.fault(
            fields.nodes.get("hosts", fields.node),
            "missing_key",
            'the host of base_url comes with the token, so hosts has to say which are meant, as in ["*.example.com"]',
            fields.path("hosts"),
        )
    if url.scheme == "http" and not (url.host.plain and domains.is_loopback(domains.canonical_host(url.host.text))):
        _check_clear(fields, node, "the upstream", reading)


def _check_clear(fields: Fields, node: Node, authority: str, reading: Reading) -> None:
    if may_be_insecure(fields):
        reading.warn(node, "insecure_url", f"requests and tokens go to {authority} in clear")
    else:
        message = "http sends the token in clear; use https, or set allow_insecure: true on this connection"
        reading.fault(node, "insecure_url", message)
