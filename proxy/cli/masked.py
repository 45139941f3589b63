"""The requests that a connection makes for its tokens, built as the running proxy builds them, their secrets masked.

One of the few places that reveal secrets: the claims of a signed assertion, which hold none, are shown decoded.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.definitions.templates.placeholders import RenderError
from proxy.oauth import request as requests
from proxy.oauth.authorize import authorization_url
from proxy.oauth.device import device_authorization, device_token
from proxy.oauth.grant import Authorization, Grant
from proxy.oauth.material import Material, Rendering
from proxy.oauth.metadata import Metadata, metadata_requests
from proxy.oauth.revoke import can_revoke, revocation
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.definitions.models import Connection, IClient
    from proxy.oauth.compose import TokenRequest

MASK: Final = "***"
# Stands for a secret while the request is built: no encoding changes it, and nobody writes it.
_TOKEN: Final = "iclientproxymaskedvalue"
_SECRET: Final = Secret(_TOKEN)
_REFRESHING: Final = frozenset({"authorization_code", "device_code", "refresh_token", "password"})
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Shown:
    """One request: `what` it is for; `unknown` says why it can't be shown. Nothing in it is a secret."""

    what: str
    method: str = ""
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    assertion: dict[str, Any] | None = None
    unknown: str | None = None


@dataclass(slots=True)
class _Mask:
    """Masks, and keeps the claims of the assertion that was made here; `written` are the operator's own secrets."""

    written: tuple[Secret, ...]
    assertion: dict[str, Any] | None = field(default=None)

    def __call__(self, secret: Secret) -> str:
        if secret not in self.written and (claims := _claims(secret.reveal())) is not None:
            self.assertion = claims
        return _TOKEN


class _Everything(Mapping[Key, Any]):
    """A mapping that has whatever is asked for: what only a running proxy knows, as something masked."""

    def __getitem__(self, key: Key) -> Any:  # noqa: ANN401
        return _SECRET

    def __contains__(self, key: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Key]:
        return iter(())

    def __len__(self) -> int:
        return 0


def token_requests(
    connection: Connection, iclient: IClient, redirect_url: str | None, now: float, entropy: Callable[[int], bytes]
) -> list[Shown]:
    """Return every request of the connection's grant, in the order in which they are made."""

    def shown(what: str, build: Callable[[Material], TokenRequest]) -> Shown:
        mask = _Mask(_written(connection, iclient))
        material = _material(connection, iclient, redirect_url, now, entropy, mask)
        try:
            return _shown(what, build(material), mask)
        except RenderError as error:
            return Shown(what, unknown=error.message)

    grant = iclient.grant_type
    found = []
    if iclient.issuer is not None and iclient.token_url is None:
        first, *_ = metadata_requests(iclient.issuer)
        found.append(Shown("metadata", first.method, first.url, first.headers))
    if grant == "authorization_code":
        found.append(_browser(_material(connection, iclient, redirect_url, now, entropy, _Mask(()))))
    if grant == "device_code":
        found.append(shown("device authorization", device_authorization))
        found.append(shown("access token", lambda material: device_token(material, _SECRET)))
    elif grant == "self_signed_jwt":
        found.append(_self_signed(_material(connection, iclient, redirect_url, now, entropy, _Mask(()))))
    elif grant != "refresh_token":
        found.append(shown("access token", requests.own_grant))
    if grant in _REFRESHING:
        found.append(shown("refresh", requests.refresh))
    if can_revoke(iclient, None):
        found.append(shown("revocation", lambda material: revocation(material, _SECRET, "refresh_token")))
    return found


def _written(connection: Connection, iclient: IClient) -> tuple[Secret, ...]:
    named = (*dict(connection.secrets).values(), *dict(iclient.secrets).values())
    own = (iclient.client_secret, connection.password, connection.refresh_token)
    return (*named, *(secret for secret in own if secret is not None))


def _material(
    connection: Connection,
    iclient: IClient,
    redirect_url: str | None,
    now: float,
    entropy: Callable[[int], bytes],
    mask: _Mask,
) -> Material:
    verifier = _SECRET if iclient.pkce != "off" else None
    return Material(
        connection=connection,
        iclient=iclient,
        now=now,
        entropy=entropy,
        redirect_url=redirect_url,
        metadata=None if iclient.issuer is None else _metadata(iclient.issuer),
        grant=Grant(
            refresh_token=_SECRET, access_token=_SECRET, fields=_Everything[str](), callback=_Everything[str]()
        ),
        authorization=Authorization(_SECRET, verifier, redirect_url or "", _TOKEN),
        rotated=_Everything[Any](),
        reveal=mask,
    )


def _metadata(issuer: str) -> Metadata:
    """Return, for each URL that only the server knows, the member of its metadata that will name it."""
    return Metadata(
        issuer,
        authorization_endpoint="{authorization_endpoint}",
        token_endpoint="{token_endpoint}",
        device_authorization_endpoint="{device_authorization_endpoint}",
    )


def _browser(material: Material) -> Shown:
    challenge = _TOKEN if material.iclient.pkce != "off" else None
    try:
        url = authorization_url(material, state=_TOKEN, challenge=challenge)
    except RenderError as error:
        return Shown("authorization", unknown=error.message)
    return Shown("authorization", "GET", _starred(url))


def _self_signed(material: Material) -> Shown:
    what = "access token (signed here, no request)"
    try:
        token = Rendering(material, None).assertion()
    except RenderError as error:
        return Shown(what, unknown=error.message)
    return Shown(what, assertion=_claims(token.reveal()))


def _shown(what: str, request: TokenRequest, mask: _Mask) -> Shown:
    return Shown(
        what,
        request.method,
        _starred(request.url),
        tuple((name, _starred(value)) for name, value in request.headers),
        _starred(request.body.decode("utf-8", "replace")),
        mask.assertion,
    )


def _starred(text: str) -> str:
    return text.replace(_TOKEN, MASK)


def _claims(text: str) -> dict[str, Any] | None:
    """Return header and payload of a JSON Web Token that was made here, None for any other text."""
    parts = text.split(".")
    if len(parts) != 3:
        return None
    try:
        header, payload = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    except (binascii.Error, ValueError):
        return None
    return {"header": header, "payload": payload} if isinstance(header, dict) and "alg" in header else None
