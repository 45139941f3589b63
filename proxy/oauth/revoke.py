"""Giving a token back (RFC 7009). Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from proxy.oauth.compose import compose
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.oauth.response import error_of

if TYPE_CHECKING:
    from proxy.definitions.models import IClient
    from proxy.oauth.compose import TokenRequest
    from proxy.oauth.material import Material
    from proxy.oauth.metadata import Metadata
    from proxy.oauth.response import EndpointAnswer
    from proxy.secret import Secret

REVOKE: Final = "revoke"
Hint = Literal["refresh_token", "access_token"]


def can_revoke(iclient: IClient, metadata: Metadata | None) -> bool:
    """Tell whether a revocation endpoint is known."""
    named = iclient.revocation_url or iclient.revocation_request.url
    return named is not None or (metadata is not None and metadata.revocation_endpoint is not None)


def revocation(material: Material, token: Secret, hint: Hint) -> TokenRequest:
    """Return the request that revokes `token` (RFC 7009 §2.1).

    In templates it is `connection.token.refresh_token` or `.access_token`, as `hint` says. Raises `RenderError`.
    """
    held = material.grant
    held = replace(held, refresh_token=token) if hint == "refresh_token" else replace(held, access_token=token)
    material = replace(material, grant=held)
    metadata = material.metadata
    endpoint = material.iclient.revocation_url or (metadata.revocation_endpoint if metadata is not None else None)
    fields = (("token", material.reveal(token)), ("token_type_hint", hint))
    return compose(material, REVOKE, endpoint, material.iclient.revocation_request, fields)


def read_revocation(answer: EndpointAnswer, *, limit: int, now: float) -> Failure | None:
    """Return why the token was not revoked, None where it was; never raises.

    A token that the server does not know is as good as revoked, and so is one of a kind that it revokes only together
    with another (`unsupported_token_type`, RFC 7009 §2.2.1).
    """
    if 200 <= answer.status < 300:
        return None
    if 300 <= answer.status < 400:
        return Failure(Outcome.OTHER_ERROR, "token_endpoint_redirect", Remedy.OPERATOR, status=answer.status)
    failure = error_of(answer, limit=limit, now=now)
    if failure.code == "unsupported_token_type":
        return None
    # Asking again helps where the server has trouble, not where it says no.
    return failure if answer.status >= 500 or answer.status == 429 else replace(failure, remedy=Remedy.OPERATOR)
