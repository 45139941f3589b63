"""What an authorization server says about itself: RFC 8414 and OpenID Connect Discovery. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.oauth.compose import TokenRequest
from proxy.oauth.content import ContentError, decoded, document, text
from proxy.oauth.failure import Failure, Outcome, Remedy

if TYPE_CHECKING:
    from proxy.oauth.response import EndpointAnswer

METADATA: Final = "metadata"
_ENDPOINTS: Final = (
    "authorization_endpoint", "token_endpoint", "revocation_endpoint", "device_authorization_endpoint",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metadata:
    """The URLs, None where the server names none; whether it promises `iss` in its redirects (RFC 9207 §3)."""

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    revocation_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    iss_in_response: bool = False


def metadata_requests(issuer: str) -> tuple[TokenRequest, ...]:
    """Return the requests to try in turn: RFC 8414 §3.1 first, then OpenID Connect Discovery §4.

    The first puts the well-known path between host and path of the issuer, the second behind it.
    """
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )
    headers = (("Accept", "application/json"), ("Accept-Encoding", "identity"), ("User-Agent", "iclient-proxy"))
    return tuple(TokenRequest(METADATA, "GET", url, headers, b"") for url in urls)


def read_metadata(answer: EndpointAnswer, issuer: str, *, limit: int) -> Metadata | Failure:
    """Return what the server says, or why it can't be used; never raises.

    Its `issuer` has to be the one that was asked for, character by character (RFC 8414 §3.3): otherwise one server
    could speak for another.
    """
    if answer.status >= 500 or answer.status in (408, 429):
        return Failure(Outcome.OTHER_ERROR, "metadata_unavailable", status=answer.status)
    if answer.status != 200:
        return Failure(Outcome.OTHER_ERROR, "metadata_not_found", Remedy.OPERATOR, status=answer.status)
    try:
        content = text(decoded(answer.body, answer.header("content-encoding"), limit))
        found = document(content, "application/json")
    except ContentError:
        return Failure(Outcome.MALFORMED, "metadata_malformed", Remedy.OPERATOR, status=answer.status)
    if not isinstance(found, Mapping):
        return Failure(Outcome.MALFORMED, "metadata_malformed", Remedy.OPERATOR, status=answer.status)
    if found.get("issuer") != issuer:
        return Failure(Outcome.OTHER_ERROR, "issuer_mismatch", Remedy.OPERATOR, status=answer.status)
    urls = {name: value for name in _ENDPOINTS if isinstance(value := found.get(name), str)}
    return Metadata(issuer, **urls, iss_in_response=found.get("authorization_response_iss_parameter_supported") is True)
