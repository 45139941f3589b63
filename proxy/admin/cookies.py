"""The cookie that ties an authorization to the browser in which it began. Pure.

Its value holds the session of every flow that the browser has open, for an operator opens several in tabs. A cookie
belongs to a host, whatever the port (RFC 6265 §8.5), so it may hold those of another proxy on this machine, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# `__Host-` (RFC 6265bis §4.1.3.2): only a secure page of this very host can have set it.
SECURE_NAME: Final = "__Host-iclient_proxy_flow"
NAME: Final = "iclient_proxy_flow"

_FLOWS: Final = 12  # a browser keeps 4 KiB of a cookie; a session is about 43 characters
_SESSION: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")
_SECONDS: Final = 600  # as long as a flow lives


def sessions(fields: Iterable[str], *, secure_only: bool) -> tuple[str, ...]:
    """Return the sessions in the `Cookie` fields, oldest first.

    `secure_only`: this is a page on https, where a plain cookie may come from a neighbouring host.
    """
    wanted = (SECURE_NAME,) if secure_only else (SECURE_NAME, NAME)
    found: list[str] = []
    for pair in (pair for field in fields for pair in field.split(";")):
        name, _, value = pair.strip().partition("=")
        if name in wanted:
            found += (session for session in value.split(".") if _SESSION.fullmatch(session))
    return tuple(dict.fromkeys(found))[-_FLOWS:]


def set_cookie(known: tuple[str, ...], session: str, *, secure: bool) -> str:
    """Return the value of `Set-Cookie` for a browser that has begun one more flow.

    `Lax`: the callback is a navigation from another site, on which browsers do not send `Strict` cookies.
    """
    value = ".".join((*(each for each in known if each != session), session)[-_FLOWS:])
    name, transport = (SECURE_NAME, "; Secure") if secure else (NAME, "")
    return f"{name}={value}; Path=/; Max-Age={_SECONDS}; HttpOnly; SameSite=Lax{transport}"
