"""Signs assertions: JSON Web Tokens by which a client, or a user, is vouched for (RFC 7519, 7523). Pure."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.templates.placeholders import RenderError
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.definitions.keys.signing_keys import SigningKey
    from proxy.definitions.models import Jwt


_TIMES: Final = ("iat", "exp", "nbf")


def sign(
    jwt: Jwt, *, header: Mapping[str, Any], payload: Mapping[str, Any], audience: str | None, now: float, jti: str
) -> Secret:
    """Return a signed assertion. `header` and `payload` are those of the definitions, rendered.

    `aud`, `iat`, `exp` (`iat` + `lifetime`) and `jti` are added where the payload does not set them; `kid`, `x5t`,
    `x5t#S256` and `typ` where the header does not. A null keeps one out. `alg` is the configured one, whatever the
    header says. Raises `RenderError` for a time that is no number (RFC 7519 §2, NumericDate).
    """
    if jwt.key is None or jwt.algorithm is None:
        raise ValueError("a ready-made assertion is not signed")
    written = {name: _number(name, value) if name in _TIMES else value for name, value in payload.items()}
    issued = written.get("iat")
    issued = int(now) if issued is None else issued
    claims = {"iat": issued, "exp": issued + int(jwt.lifetime), "jti": jti, "aud": audience, **written}
    named = {"typ": "JWT", "kid": jwt.key_id, "x5t": jwt.x5t, "x5t#S256": jwt.x5t_s256}
    fields = {**named, **header, "alg": jwt.algorithm}
    signed = f"{_segment(fields)}.{_segment(claims)}"
    return Secret(f"{signed}.{_base64url(_signature(jwt.key, jwt.algorithm, signed.encode('ascii')))}")


def _signature(key: SigningKey, algorithm: str, signed: bytes) -> bytes:
    """Sign by PyJWT's algorithm alone: its `encode` lets a header choose another, and warns of what was warned of."""
    from jwt.algorithms import get_default_algorithms

    signer: Any = get_default_algorithms()[algorithm]
    # What fits the algorithm was checked when the key was loaded.
    signature: bytes = signer.sign(signed, key.shared if key.private is None else key.private)
    return signature


def _segment(members: Mapping[str, Any]) -> str:
    present = {name: value for name, value in members.items() if value is not None}
    return _base64url(json.dumps(present, ensure_ascii=False, separators=(",", ":")).encode())


def _number(name: str, value: Any) -> Any:  # noqa: ANN401 a JSON value
    """Return a time as the number that it has to be: a template renders digits."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    raise RenderError("placeholder_failed", f"{name} of the assertion is no number of seconds")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
