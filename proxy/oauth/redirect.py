"""Where an authorization server sends the browser back to: the redirect URL that has to be registered there. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.definitions.templates.placeholders import Ambient, render
from proxy.definitions.templates.scope import connection_scope, iclient_scope

if TYPE_CHECKING:
    from proxy.definitions.models import Connection, IClient
    from proxy.definitions.settings import AdminListener

CALLBACK: Final = "/oauth/callback/"


def redirect_url(iclient: IClient, connection: Connection, base: str | None) -> str | None:
    """Return the redirect URL: the one that is written, else the admin listener's at `base`; None where it has none.

    Raises `RenderError`.
    """
    template = iclient.redirect_url
    if template is None:
        return None if base is None else f"{base}{CALLBACK}{iclient.name}"
    scope = {
        "connection": connection_scope(connection),
        "iclient": iclient_scope(iclient, connection, redirect_url=None, jwt=None),
    }
    return render(template, scope, Ambient(0.0, bytes))


def callback_name(redirect: str, iclient: str) -> str:
    """Return the NAME of `/oauth/callback/NAME` in a redirect URL, by which a callback says which one it came to.

    It may be that of the iClient or of a connection; of another kind of URL it is `iclient`.
    """
    _, callback, name = redirect.partition(CALLBACK)
    return name if callback and name else iclient


def admin_base(listener: AdminListener | None, port: int | None) -> str | None:
    """Return where a browser finds the admin listener, without a slash at the end; None where it can't.

    `port` is the one that it is bound to, None for a unix socket.
    """
    if listener is None:
        return None
    if listener.public_url is not None:
        return listener.public_url.rstrip("/")
    return None if port is None else f"http://127.0.0.1:{port}"
