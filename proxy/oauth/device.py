"""Asking for a grant on another device (RFC 8628). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.definitions.models import RequestOverride
from proxy.oauth.compose import compose
from proxy.oauth.content import ContentError, decoded, document, text
from proxy.oauth.expiry import lifetime
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.oauth.request import DEVICE_CODE, token_request
from proxy.oauth.response import error_of
from proxy.secret import Secret

if TYPE_CHECKING:
    from proxy.oauth.compose import Pairs, TokenRequest
    from proxy.oauth.material import Material
    from proxy.oauth.response import EndpointAnswer

DEVICE: Final = "device_authorization"
# RFC 8628 §3.2: 5 s where the server names no interval; §3.5: 5 s more at each `slow_down`.
INTERVAL: Final = 5.0
_LONGEST: Final = 1800.0
_LONGEST_INTERVAL: Final = 60.0
_PLAIN: Final = RequestOverride()  # the form has no overrides for this request


@dataclass(frozen=True, slots=True)
class Device:
    """What a human is told, and how long it holds; seconds."""

    device_code: Secret
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: float
    interval: float


def device_authorization(material: Material) -> TokenRequest:
    """Return the request for a user code (RFC 8628 §3.1). Raises `RenderError`."""
    iclient, metadata = material.iclient, material.metadata
    endpoint = iclient.device_authorization_url or (
        metadata.device_authorization_endpoint if metadata is not None else None
    )
    scopes = material.connection.scopes
    fields: Pairs = (("scope", iclient.scope_delimiter.join(scopes)),) if scopes else ()
    return compose(material, DEVICE, endpoint, _PLAIN, fields)


def device_token(material: Material, device_code: Secret) -> TokenRequest:
    """Return the request that asks whether the human has agreed (RFC 8628 §3.4). Raises `RenderError`."""
    fields = (("grant_type", DEVICE_CODE), ("device_code", material.reveal(device_code)))
    return token_request(material, "device_code", material.iclient.access_token_request, fields)


def read_device(answer: EndpointAnswer, *, limit: int, now: float) -> Device | Failure:
    """Return what the server says a human has to do (RFC 8628 §3.2), or the failure it is; never raises."""
    if answer.status != 200:
        return error_of(answer, limit=limit, now=now)
    try:
        found = document(text(decoded(answer.body, answer.header("content-encoding"), limit)), "application/json")
    except ContentError as error:
        return Failure(Outcome.MALFORMED, error.code, status=answer.status)
    members = found if isinstance(found, Mapping) else {}
    if members.get("error"):
        return error_of(answer, limit=limit, now=now)
    code, user_code = members.get("device_code"), members.get("user_code")
    # Some servers say `verification_url`, as an early draft did.
    uri = members.get("verification_uri", members.get("verification_url"))
    if not (isinstance(code, str) and code and _shown(user_code) and _link(uri)):
        return Failure(Outcome.MALFORMED, "device_answer_malformed", Remedy.OPERATOR, status=answer.status)
    complete = members.get("verification_uri_complete")
    return Device(
        Secret(code),
        str(user_code),
        str(uri),
        str(complete) if _link(complete) else None,
        min(lifetime(members.get("expires_in"), "s", now) or _LONGEST, _LONGEST),
        _interval(members.get("interval")),
    )


def _interval(value: object) -> float:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return min(float(value), _LONGEST_INTERVAL) if numeric and value > 0 else INTERVAL  # type: ignore[arg-type,operator]


def _shown(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64 and value.isascii() and value.isprintable()


def _link(value: object) -> bool:
    """Tell whether a page may link there: an absolute URL of the web, nothing that a browser would run."""
    if not (isinstance(value, str) and len(value) <= 2048 and value.isascii() and value.isprintable()):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("https", "http") and bool(parts.hostname)
