"""Builds the requests for a token endpoint: grants and client authentication of RFC 6749. Pure.

This is one of the few places that reveal secrets: the bytes built here leave the process.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, assert_never
from urllib.parse import quote_plus, urlencode

if TYPE_CHECKING:
    from proxy.definitions.models import Connection, IClient
    from proxy.secret import Secret

FORM: Final = "application/x-www-form-urlencoded"
REFRESH: Final = "refresh_token"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What goes to a token endpoint. Headers and body hold secrets, so they are not shown.

    `grant` is the `grant_type` sent: `client_credentials`, `password` or `refresh_token`. The transport adds `Host`,
    `Content-Length` and `Connection`.
    """

    grant: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


def own_grant(connection: Connection, iclient: IClient) -> TokenRequest:
    """Return the request of the iClient's own grant: client_credentials (RFC 6749 §4.4) or password (§4.3)."""
    fields: list[tuple[str, str]] = [("grant_type", iclient.grant_type)]
    match iclient.grant_type:
        case "client_credentials":
            pass
        case "password":
            fields.append(("username", connection.username or ""))
            fields.append(("password", connection.password.reveal() if connection.password else ""))
        case _:
            assert_never(iclient.grant_type)
    if connection.scopes:
        fields.append(("scope", iclient.scope_delimiter.join(connection.scopes)))
    return _request(iclient, iclient.grant_type, fields)


def refresh(iclient: IClient, refresh_token: Secret) -> TokenRequest:
    """Return the request that refreshes (RFC 6749 §6). No scope goes along: some servers refuse a repeated one."""
    return _request(iclient, REFRESH, [("grant_type", REFRESH), ("refresh_token", refresh_token.reveal())])


def _request(iclient: IClient, grant: str, fields: list[tuple[str, str]]) -> TokenRequest:
    headers = [
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
        ("Content-Type", FORM),
        ("User-Agent", "iclient-proxy"),
    ]
    # Exactly one of the three, so that credentials never go twice (RFC 6749 §2.3).
    match iclient.client_auth:
        case "client_secret_basic":
            headers.append(("Authorization", basic_credentials(iclient)))
        case "client_secret_post":
            fields = [*fields, *_client_id(iclient)]
            if iclient.client_secret is not None:
                fields.append(("client_secret", iclient.client_secret.reveal()))
        case "none":
            fields = [*fields, *_client_id(iclient)]
        case _:
            assert_never(iclient.client_auth)
    return TokenRequest(grant, "POST", iclient.token_url, tuple(headers), urlencode(fields).encode("ascii"))


def basic_credentials(iclient: IClient) -> str:
    """Return the value of `Authorization` for client_secret_basic.

    Id and secret are form-encoded first (RFC 6749 §2.3.1); `basic_encoding: raw` is for servers that expect RFC 7617.
    """
    identity = iclient.client_id or ""
    secret = iclient.client_secret.reveal() if iclient.client_secret is not None else ""
    match iclient.basic_encoding:
        case "form":
            pair = f"{quote_plus(identity)}:{quote_plus(secret)}"
        case "raw":
            pair = f"{identity}:{secret}"
        case _:
            assert_never(iclient.basic_encoding)
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")


def _client_id(iclient: IClient) -> list[tuple[str, str]]:
    return [] if iclient.client_id is None else [("client_id", iclient.client_id)]
