"""The JWT of integrator.io as the block `jwt`, and what a request does with it. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from proxy.celigo.fields import member, text
from proxy.celigo.placeholders import UntranslatableError, translated

if TYPE_CHECKING:
    from proxy.celigo.notes import ResourceNotes
    from proxy.celigo.placeholders import Names

    Mapping = dict[str, Any]

ALGORITHMS: Final = {
    f"{kind}-sha{bits}": f"{short}{bits}" for kind, short in (("hmac", "HS"), ("rsa", "RS")) for bits in (256, 384, 512)
} | {f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("es", "ps") for bits in (256, 384, 512)}
TOKEN: Final = "{{{iclient.jwt.token}}}"
_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523 §2.1
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 §2.2
# Made anew for every assertion, from `lifetime`.
_MADE: Final = ("iat", "exp", "nbf", "jti")
_LIFETIMES: Final = range(1, 3601)  # a number this small is no point in time


def jwt(content: object, names: Names, place: str, notes: ResourceNotes) -> Mapping | None:
    """Return the block `jwt`, None where its method is not known."""
    method = text(member(content, "signatureMethod")).lower()
    algorithm = ALGORITHMS.get(method)
    if algorithm is None:
        notes.left(f"{place}.signatureMethod", f"{method or 'nothing'} is no method that is known; write jwt.algorithm")
        return None
    block: Mapping = {"algorithm": algorithm}
    if algorithm.startswith("HS"):
        block["secret"] = notes.secret("jwt_secret", f"{place}.secret")
        if member(content, "isSecretBase64Encoded") is True:
            block["secret_base64"] = True
    else:
        block["private_key"] = notes.secret("jwt_private_key", f"{place}.privateKey")
    claims = _claims(member(content, "payload"), names, f"{place}.payload", notes)
    header = _claims(member(content, "headers"), names, f"{place}.headers", notes)
    lifetime = claims.get("exp")
    if isinstance(lifetime, int | str) and str(lifetime).isdecimal() and int(lifetime) in _LIFETIMES:
        block["lifetime"] = f"{int(lifetime)}s"
        notes.guessed(f"{place}.payload.exp", f"{lifetime} is taken for a lifetime in seconds")
    elif lifetime is not None:
        notes.guessed(f"{place}.payload.exp", "each assertion lives for jwt.lifetime (5m); exp is made from that")
    if claims.get("nbf") is not None:
        notes.left(f"{place}.payload.nbf", "it would have to be computed; an assertion is good at once")
    block["payload"] = {name: value for name, value in claims.items() if name not in _MADE}
    if not block["payload"]:
        del block["payload"]
    if (written := header.pop("alg", algorithm)) != algorithm:
        notes.guessed(f"{place}.headers.alg", f"{written} does not fit {method}; {algorithm} is sent")
    if header.get("typ") == "JWT":
        del header["typ"]
    if header:
        block["header"] = header
    return block


def _claims(written: object, names: Names, place: str, notes: ResourceNotes) -> Mapping:
    content = written
    if isinstance(content, str) and content.strip():
        try:
            content = json.loads(content)
        except ValueError:
            notes.left(place, "it is not a JSON object; write jwt.payload or jwt.header by hand")
    claims: Mapping = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        try:
            claims[name] = _leaf(value, names)
        except UntranslatableError as error:
            if name in _MADE:
                claims[name] = ""
            else:
                notes.left(f"{place}.{name}", f"it holds {error}, which has no counterpart")
    return claims


def _leaf(value: object, names: Names) -> object:
    match value:
        case str():
            return translated(value, names)
        case dict():
            return {name: _leaf(item, names) for name, item in value.items()}
        case list():
            return [_leaf(item, names) for item in value]
        case _:
            return value


def is_bearer_grant(body: Mapping) -> bool:
    """Whether a body asks by the JWT bearer grant."""
    return body.get("grant_type") == _BEARER and body.get("assertion") == TOKEN


def is_client_assertion(body: Mapping) -> bool:
    """Whether a body says by the JWT who the client is."""
    return body.get("client_assertion_type") == _ASSERTION and body.get("client_assertion") == TOKEN


def is_plain(body: Mapping) -> bool:
    """Whether a body with an assertion is the default one."""
    bearer = {"grant_type": _BEARER, "assertion": TOKEN}
    client = {"grant_type": "client_credentials", "client_assertion_type": _ASSERTION, "client_assertion": TOKEN}
    return body in (bearer, client)
