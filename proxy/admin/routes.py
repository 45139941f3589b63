"""Which path is which page, and which methods it takes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

_READ: Final = ("GET", "HEAD")
_NAME: Final = "(?P<name>[a-z0-9][a-z0-9_-]{0,62})"

KNOWN: Final = (
    "here are /, /livez, /readyz, /startupz, /metrics, /connections/NAME, /oauth/start/CONNECTION, "
    "/oauth/callback/NAME, /api/connections, and for POST /api/connections/NAME/renew, revoke, test, authorize, "
    "redeem and device, /api/reload and /quitquitquit; for browsers /proxy.pac; /ca.pem"
)


class Page(Enum):
    """What there is behind the guard."""

    STATUS = auto()
    CONNECTION = auto()
    CONNECTION_ACTION = auto()
    ASSET = auto()
    START = auto()
    CALLBACK = auto()
    DONE = auto()
    API_CONNECTIONS = auto()
    API_ACTION = auto()
    API_RELOAD = auto()
    QUIT = auto()
    PAC = auto()
    AUTHORITY = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """A path that was recognised: `name` is a connection's or an iClient's, `action` what is to be done with it."""

    page: Page
    methods: tuple[str, ...]
    name: str = ""
    action: str = ""


# No method but GET for what an authorization server or a link sends a browser to: a HEAD must not begin or end a flow.
_TABLE: Final = tuple(
    (re.compile(pattern), page, methods)
    for pattern, page, methods in (
        ("/", Page.STATUS, _READ),
        (f"/connections/{_NAME}", Page.CONNECTION, _READ),
        (f"/connections/{_NAME}/(?P<action>renew|revoke|test)", Page.CONNECTION_ACTION, ("POST",)),
        (r"/assets/(?P<name>[a-z]{1,20}\.[a-z]{2,3})", Page.ASSET, _READ),
        (f"/oauth/start/{_NAME}", Page.START, ("GET",)),
        (f"/oauth/callback/{_NAME}", Page.CALLBACK, ("GET",)),
        (f"/oauth/done/{_NAME}", Page.DONE, _READ),
        ("/api/connections", Page.API_CONNECTIONS, _READ),
        (
            f"/api/connections/{_NAME}/(?P<action>renew|revoke|test|authorize|redeem|device)",
            Page.API_ACTION,
            ("POST",),
        ),
        ("/api/reload", Page.API_RELOAD, ("POST",)),
        ("/quitquitquit", Page.QUIT, ("POST",)),
        (r"/proxy\.pac", Page.PAC, _READ),
        (r"/ca\.pem", Page.AUTHORITY, _READ),
    )
)


def find(path: str) -> Route | None:
    """Return what the path, as it was sent, names; None for anything else, also for another spelling of it."""
    for pattern, page, methods in _TABLE:
        found = pattern.fullmatch(path)
        if found is not None:
            named = found.groupdict()
            return Route(page, methods, named.get("name", ""), named.get("action", ""))
    return None
