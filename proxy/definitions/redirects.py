"""Redirect URLs: two iClients never share one, so that a code can't be redeemed by the wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.definitions.settings import TcpBind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.definitions.iclients import Registration
    from proxy.definitions.models import IClient
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.settings import AdminListener


def check_redirects(registrations: Iterable[Registration], admin: AdminListener | None, reading: Reading) -> None:
    """Fault where the browser would come back to one URL for two iClients (RFC 9700 §4.4.2)."""
    taken: dict[str, Registration] = {}
    for registration in registrations:
        if registration.iclient.grant_type != "authorization_code":
            continue
        first = taken.setdefault(redirect_text(registration.iclient, admin), registration)
        if first is not registration:
            reading.fault(
                registration.node,
                "duplicate_redirect_url",
                f"{first.node.path} has this redirect URL already; write a redirect_url of its own for one of them",
            )


def redirect_text(iclient: IClient, admin: AdminListener | None) -> str:
    """Return the redirect URL of an iClient as far as the definitions know it: a template as it is written."""
    if iclient.redirect_url is not None:
        return iclient.redirect_url.text
    if admin is not None and admin.public_url is not None:
        origin = admin.public_url.removesuffix("/")
    else:
        port = admin.bind.port if admin is not None and isinstance(admin.bind, TcpBind) else 0
        origin = f"http://127.0.0.1:{port}"
    return f"{origin}/oauth/callback/{iclient.name}"
