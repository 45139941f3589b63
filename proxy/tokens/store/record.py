"""One stored grant as text that only the store's keys open, and what tells whose grant it is. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.templates.placeholders import RenderError
from proxy.oauth.grant import Grant
from proxy.oauth.material import Material, Rendering
from proxy.sealing import SealError
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.definitions.models import Connection, IClient
    from proxy.sealing import Keyring

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """The grant that belongs to a fingerprint; one without anything in it is lost, and its seed is of no use."""

    fingerprint: str
    grant: Grant


def fingerprint(connection: Connection, iclient: IClient) -> str:
    """Return what two grants have in common that may stand for each other.

    It is made of the token URL, the client id, the grant type, the user, the scopes and the refresh token that the
    operator wrote: another one of these means another grant.
    """
    rendering = Rendering(Material(connection, iclient, now=0.0, entropy=bytes), None)
    seed = connection.refresh_token
    parts: list[object] = [
        _rendered(lambda: rendering.url(iclient.token_url) if iclient.token_url is not None else ""),
        iclient.issuer,
        _rendered(lambda: rendering.text(iclient.client_id) if iclient.client_id is not None else ""),
        iclient.grant_type,
        connection.username,
        sorted(connection.scopes),
        seed.reveal() if seed is not None else None,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def sealed(record: Record, name: str, keys: Keyring, entropy: Callable[[int], bytes]) -> bytes:
    """Return the record of the connection `name` as the bytes of its file."""
    grant = record.grant
    content = {
        "fingerprint": record.fingerprint,
        "refresh_token": grant.refresh_token.reveal() if grant.refresh_token is not None else None,
        "fields": dict(grant.fields),
        "callback": dict(grant.callback),
    }
    text = keys.seal(json.dumps(content), _purpose(name), entropy)
    return json.dumps({"schema": SCHEMA, "grant": text}).encode() + b"\n"


def opened(data: bytes, name: str, keys: Keyring) -> Record:
    """Return the record that a file of the connection `name` holds. Raises `SealError`."""
    try:
        outside: Any = json.loads(data)
        if outside["schema"] != SCHEMA:
            raise SealError("sealed_broken", "another version of the proxy wrote it")
        content = json.loads(keys.open(outside["grant"], _purpose(name)))
        token = content["refresh_token"]
        grant = Grant(Secret(token) if token is not None else None, None, content["fields"], content["callback"])
        return Record(content["fingerprint"], grant)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SealError("sealed_broken", "it is not the record of a grant, or a part of it is missing") from None


def _purpose(name: str) -> str:
    # Each part behind its length: no two places have the same.
    return "store" + "".join(f"\0{len(part)}:{part}" for part in (str(SCHEMA), "file", name, "grant"))


def _rendered(render: Callable[[], str]) -> str | None:
    """Return the text; None where it is known only with a grant."""
    try:
        return render()
    except RenderError:
        return None
