"""What tells whose a grant is: another fingerprint, another grant. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from proxy.definitions.templates.placeholders import RenderError
from proxy.oauth.material import Material, Rendering

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.definitions.models import Connection, IClient


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


def _rendered(render: Callable[[], str]) -> str | None:
    """Return the text; None where it is known only with a grant."""
    try:
        return render()
    except RenderError:
        return None
