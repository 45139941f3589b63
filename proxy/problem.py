"""Every own answer in one table: its code, status and whose fault it is (RFC 9457, RFC 9209)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PROXY_NAME: Final = "iclient-proxy"
TYPE_BASE: Final = "urn:iclient-proxy:problem:"


class Origin(StrEnum):
    """Whose fault an own answer is."""

    DOWNSTREAM = "downstream"
    PROXY = "proxy"
    AUTHORIZATION_SERVER = "authorization_server"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of own answer; `proxy_error` is the error type of RFC 9209 §2.3."""

    code: str
    status: int
    origin: Origin
    title: str
    proxy_error: str


def _table() -> dict[str, Problem]:
    downstream, proxy, authorization_server, upstream = Origin
    # fmt: off
    rows: Iterable[tuple[str, int, Origin, str, str]] = (
        ("bad_request", 400, downstream, "The request is malformed", "http_request_error"),
        ("client_credential_present", 400, downstream, "The request brings a credential of its own", "http_request_denied"),
        ("absolute_form_required", 400, downstream, "A proxy request needs the absolute form", "http_request_denied"),
        ("listener_auth_required", 401, downstream, "This listener wants a credential", "http_request_denied"),
        ("cross_site", 403, downstream, "A web page of another site may not use this listener", "http_request_denied"),
        ("not_allowed", 403, downstream, "The definitions do not allow this method or path", "http_request_denied"),
        ("unclaimed_host", 403, downstream, "No connection claims this host", "http_request_denied"),
        ("interception_required", 403, downstream, "This host can be reached by interception only", "http_request_denied"),
        ("admin_forbidden", 403, downstream, "This page needs a loopback peer or the admin credential", "http_request_denied"),
        ("destination_prohibited", 403, downstream, "This destination is prohibited", "destination_ip_prohibited"),
        ("no_route", 404, downstream, "No connection claims this request", "http_request_denied"),
        ("method_not_allowed", 405, downstream, "This method is not relayed", "http_request_denied"),
        ("proxy_auth_required", 407, downstream, "This proxy wants a credential", "http_request_denied"),
        ("client_body_timeout", 408, downstream, "The rest of the request did not come in time", "http_request_error"),
        ("target_too_long", 414, downstream, "The request target is too long", "http_request_error"),
        ("expectation_failed", 417, downstream, "This expectation is not known", "http_request_error"),
        ("misdirected_request", 421, downstream, "This listener does not answer for that host", "http_request_denied"),
        ("headers_too_large", 431, downstream, "The header section is too large", "http_request_error"),
        ("internal_error", 500, proxy, "The proxy failed", "proxy_internal_error"),
        ("url_outside_valid_domains", 500, proxy, "An OAuth URL lies outside the valid domains", "proxy_configuration_error"),
        ("placeholder_unresolved", 500, proxy, "A placeholder of the definitions stands for nothing that may be sent", "proxy_configuration_error"),
        ("not_implemented", 501, downstream, "The request asks for something this proxy does not do", "http_request_error"),
        ("upstream_protocol_error", 502, upstream, "The upstream's response is malformed", "http_protocol_error"),
        ("upstream_reset", 502, upstream, "The upstream closed the stream without a response", "connection_terminated"),
        ("upstream_refused", 502, upstream, "The upstream can't be reached", "connection_refused"),
        ("upgrade_failed", 502, upstream, "The upstream's upgrade is not the one asked for", "http_upgrade_failed"),
        ("upstream_outside_hosts", 502, upstream, "The upstream's address lies outside the connection's hosts", "proxy_configuration_error"),
        ("tls_certificate_error", 502, upstream, "The upstream's certificate can't be verified", "tls_certificate_error"),
        ("tls_protocol_error", 502, upstream, "TLS with the upstream failed", "tls_protocol_error"),
        ("authorization_failed", 502, authorization_server, "The authorization did not succeed", "proxy_internal_response"),
        ("dns_error", 502, upstream, "The upstream's name can't be resolved", "dns_error"),
        ("proxy_loop_detected", 502, downstream, "The request came back to this proxy", "proxy_loop_detected"),
        ("token_unavailable", 503, authorization_server, "There is no access token to send", "proxy_internal_response"),
        ("authorization_required", 503, authorization_server, "Someone has to authorize this connection", "proxy_configuration_error"),
        ("client_rejected", 503, authorization_server, "The authorization server rejects this client", "proxy_configuration_error"),
        ("token_expired_on_arrival", 503, authorization_server, "The authorization server issues expired tokens", "proxy_internal_response"),
        ("token_endpoint_redirect", 503, authorization_server, "The token endpoint redirects", "proxy_configuration_error"),
        ("store_unavailable", 503, proxy, "The token store can't be reached", "proxy_internal_error"),
        ("overloaded", 503, proxy, "The proxy has no room for more", "connection_limit_reached"),
        ("tunnel_limit", 503, proxy, "Too many tunnels are open", "connection_limit_reached"),
        ("upstream_timeout", 504, upstream, "The upstream did not respond in time", "http_response_timeout"),
        ("upstream_connect_timeout", 504, upstream, "The upstream did not accept the stream in time", "connection_timeout"),
        ("dns_timeout", 504, upstream, "The upstream's name was not resolved in time", "dns_timeout"),
        ("version_not_supported", 505, downstream, "This version of HTTP is not spoken here", "http_request_error"),
    )
    # fmt: on
    return {row[0]: Problem(*row) for row in rows}


PROBLEMS: Final = _table()


def answer(
    problem: Problem,
    detail: str,
    *,
    request_id: str = "",
    connection: str = "-",
    retry_after: float | None = None,
    fields: tuple[tuple[str, str], ...] = (),
    close: bool = False,
    head_only: bool = False,
) -> bytes:
    """Return the whole HTTP/1.1 response for `problem`, at most 1 KiB of body.

    `detail` and `connection` come from definitions, never from a request or a peer. `retry_after` is in seconds.
    """
    content = {
        "type": TYPE_BASE + problem.code,
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": detail[:500],
        "request_id": request_id,
        "connection": connection,
        "origin": problem.origin.value,
    }
    body = json.dumps(content).encode()
    lines = [
        f"HTTP/1.1 {problem.status} {_reason(problem.status)}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        f'Proxy-Status: {PROXY_NAME}; error={problem.proxy_error}; details="{problem.code}"',
        *(f"{name}: {value}" for name, value in fields),
    ]
    if retry_after is not None:
        lines.append(f"Retry-After: {max(1, math.ceil(retry_after))}")
    if close:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    return head if head_only else head + body


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase
