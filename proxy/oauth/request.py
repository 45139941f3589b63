"""The requests that bring tokens: the grants of RFC 6749, 7523, 8628 and 8693, and refreshing. Pure.

One of the few places that reveal secrets, through `Material.reveal`: the bytes built here leave the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from proxy.definitions.templates.placeholders import RenderError
from proxy.oauth.compose import TokenRequest, compose
from proxy.oauth.material import Rendering
from proxy.oauth.response import Issued, sendable

if TYPE_CHECKING:
    from proxy.definitions.models import RequestOverride, TokenExchange
    from proxy.oauth.compose import Pairs
    from proxy.oauth.material import Material

REFRESH: Final = "refresh_token"
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"


def own_grant(material: Material) -> TokenRequest:
    """Return the request of the iClient's own grant, for an authorization code that of `material.authorization`.

    client_credentials (RFC 6749 §4.4), password (§4.3), authorization_code (§4.1.3), jwt_bearer (RFC 7523 §2.1) and
    token_exchange (RFC 8693 §2.1). Raises `RenderError`; `ValueError` for a grant that is no single request.
    """
    connection, iclient = material.connection, material.iclient
    assertion = None
    match iclient.grant_type:
        case "client_credentials":
            fields: Pairs = (("grant_type", "client_credentials"), *_scope(material))
        case "password":
            password = material.reveal(connection.password) if connection.password is not None else ""
            who = (("username", connection.username or ""), ("password", password))
            fields = (("grant_type", "password"), *who, *_scope(material))
        case "authorization_code":
            fields = _authorization_code(material)
        case "jwt_bearer":
            fields = (("grant_type", JWT_BEARER), ("assertion", ""), *_scope(material))
            assertion = "assertion"
        case "token_exchange":
            fields = (*_token_exchange(material, iclient.token_exchange), *_scope(material))
        case "refresh_token" | "device_code" | "self_signed_jwt":
            raise ValueError(f"the grant {iclient.grant_type} has no request of its own")
        case _:
            assert_never(iclient.grant_type)
    return token_request(material, iclient.grant_type, iclient.access_token_request, fields, assertion=assertion)


def refresh(material: Material) -> TokenRequest:
    """Return the request that refreshes (RFC 6749 §6). No scope goes along: some servers refuse a repeated one.

    Raises `RenderError`.
    """
    token = material.grant.refresh_token
    if token is None:
        raise ValueError("there is no refresh token")
    fields = (("grant_type", REFRESH), ("refresh_token", material.reveal(token)))
    return token_request(material, REFRESH, material.iclient.refresh_token_request, fields)


def token_request(
    material: Material, grant: str, override: RequestOverride, fields: Pairs, *, assertion: str | None = None
) -> TokenRequest:
    """Return a request for the token endpoint. Raises `RenderError`."""
    metadata = material.metadata
    endpoint = material.iclient.token_url or (metadata.token_endpoint if metadata is not None else None)
    return compose(material, grant, endpoint, override, fields, assertion=assertion)


def self_signed(material: Material) -> Issued:
    """Return the access token that no server is asked for: the signed assertion itself.

    Raises `RenderError`, also with the code `token_malformed`: a ready-made one comes from a file that anything may
    have written.
    """
    jwt = material.iclient.jwt
    if jwt is None:
        raise RenderError("placeholder_unresolved", "the iClient has no jwt")
    token = Rendering(material, None).assertion()
    if not sendable(token.reveal()):
        raise RenderError("token_malformed", "what jwt.token holds can't be sent as a token")
    lifetime = material.iclient.default_token_ttl if jwt.token is not None else jwt.lifetime
    return Issued(access_token=token, lifetime=lifetime, refresh_token=None)


def _authorization_code(material: Material) -> Pairs:
    authorization = material.authorization
    if authorization is None:
        raise ValueError("there is no authorization code")
    fields = (
        ("grant_type", "authorization_code"),
        ("code", material.reveal(authorization.code)),
        ("redirect_uri", authorization.redirect_url),
    )
    verifier = authorization.code_verifier
    return fields if verifier is None else (*fields, ("code_verifier", material.reveal(verifier)))


def _token_exchange(material: Material, written: TokenExchange | None) -> Pairs:
    if written is None:
        raise RenderError("placeholder_unresolved", "the iClient has no token_exchange")
    fields = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", material.reveal(material.secret(written.subject_token))),
        ("subject_token_type", written.subject_token_type),
    ]
    if written.actor_token is not None:
        fields.append(("actor_token", material.reveal(material.secret(written.actor_token))))
        fields.append(("actor_token_type", written.actor_token_type or written.subject_token_type))
    if written.requested_token_type is not None:
        fields.append(("requested_token_type", written.requested_token_type))
    fields += [("audience", each) for each in written.audience]
    fields += [("resource", each) for each in written.resource]
    return tuple(fields)


def _scope(material: Material) -> Pairs:
    scopes = material.connection.scopes
    return (("scope", material.iclient.scope_delimiter.join(scopes)),) if scopes else ()
