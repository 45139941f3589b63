"""Signs assertions: JSON Web Tokens by which a client, or a user, is vouched for (RFC 7519, 7523). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.definitions.models import Jwt


def sign(
    jwt: Jwt, *, header: Mapping[str, Any], payload: Mapping[str, Any], audience: str | None, now: float, jti: str
) -> Secret:
    """Return a signed assertion. `header` and `payload` are those of the definitions, rendered.

    `aud`, `iat`, `exp` (`iat` + `lifetime`) and `jti` are added where the payload does not set them; `kid`, `x5t`,
    `x5t#S256` and `typ` where the header does not. `alg` is the configured one, whatever the header says.
    """
    import jwt as pyjwt

    if jwt.key is None or jwt.algorithm is None:
        raise ValueError("a ready-made assertion is not signed")
    issued_at = payload.get("iat", int(now))
    claims: dict[str, Any] = {"iat": issued_at, "exp": int(now + jwt.lifetime), "jti": jti}
    if audience is not None:
        claims["aud"] = audience
    claims |= payload
    fields: dict[str, Any] = {"typ": "JWT"}
    named = (("kid", jwt.key_id), ("x5t", jwt.x5t), ("x5t#S256", jwt.x5t_s256))
    fields |= {name: value for name, value in named if value is not None}
    # PyJWT lets `alg` of the header win over its argument.
    fields |= {**header, "alg": jwt.algorithm}
    # What fits the algorithm was checked when the key was loaded.
    key: Any = jwt.key.shared if jwt.key.private is None else jwt.key.private
    return Secret(pyjwt.encode(claims, key, algorithm=jwt.algorithm, headers=fields))
