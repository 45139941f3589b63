"""How a client says who it is: RFC 6749 §2.3, RFC 7523 §2.2, RFC 8705 §2. Exactly one way for each request. Pure.

One of the few places that reveal secrets: the client's leaves the process in what is built here.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never
from urllib.parse import quote_plus

from proxy.secret import Secret

if TYPE_CHECKING:
    from proxy.oauth.material import Material, Rendering

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTED: Final = frozenset({"client_secret_jwt", "private_key_jwt"})


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is added to a request: a value for `Authorization`, or fields of the body."""

    authorization: str | None = None
    fields: tuple[tuple[str, str], ...] = ()


def credentials(
    material: Material, rendering: Rendering, *, named: frozenset[str] | None, delivered: bool
) -> Credentials:
    """Return the client's credentials for one request.

    `named` are the fields of the body that the operator wrote, None where it is the default one: a written body keeps
    what it names, and has the id of a public client only if it says so. `delivered`: the operator put the assertion by
    which the client says who it is into the request already. Raises `RenderError`.
    """
    iclient = material.iclient
    client_id = material.client_id()
    identity = () if client_id is None else (("client_id", client_id),)
    match iclient.client_auth:
        case "client_secret_basic":
            return Credentials(authorization=_basic(material, client_id or ""))
        case "client_secret_post":
            secret = iclient.client_secret
            fields = identity if secret is None else (*identity, ("client_secret", material.reveal(secret)))
        case "client_secret_jwt" | "private_key_jwt":
            if delivered or "client_assertion" in (named or ()):
                return Credentials()
            assertion = material.reveal(rendering.assertion(client=True))
            fields = (*identity, ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion))
        case "tls_client_auth":
            fields = identity  # the certificate says the rest (RFC 8705 §2)
        case "none":
            fields = identity if named is None else ()
        case _:
            assert_never(iclient.client_auth)
    return Credentials(fields=tuple((name, value) for name, value in fields if name not in (named or ())))


def _basic(material: Material, client_id: str) -> str:
    """Return the value of `Authorization` for client_secret_basic.

    Id and secret are form-encoded first (RFC 6749 §2.3.1); `basic_encoding: raw` is for servers that expect RFC 7617.
    """
    iclient = material.iclient
    secret = iclient.client_secret.reveal() if iclient.client_secret is not None else ""
    match iclient.basic_encoding:
        case "form":
            pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        case "raw":
            pair = f"{client_id}:{secret}"
        case _:
            assert_never(iclient.basic_encoding)
    # The pair as a whole is what has to be masked where secrets are.
    return "Basic " + material.reveal(Secret(base64.b64encode(pair.encode()).decode("ascii")))
