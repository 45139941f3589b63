"""Interactive grants in a browser: where it sets out, where it comes back, and the fixed pages on the way.

The browser comes back to the redirect URL, and a cookie belongs to one host: an authorization that begins on
`localhost` while `127.0.0.1` is registered would come back without it. So a start elsewhere first goes to the redirect
URL's own origin. Nothing on these pages comes from a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog

from proxy.admin import answers, cookies, html
from proxy.admin.ports import AuthorizationError
from proxy.admin.routes import Page
from proxy.admin.status import named
from proxy.admin.view import row
from proxy.errors import Refusal

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.admin.access import Rules
    from proxy.admin.pages import Pages
    from proxy.admin.ports import Ports
    from proxy.admin.status import ConnectionStatus
    from proxy.admin.tickets import Tickets
    from proxy.admin.visits import Call
    from proxy.clock import Clock

_ROOT: Final = "../../"
_CALLBACK: Final = "/oauth/callback/"
_LINK_SECONDS: Final = 600.0  # a page with the link may lie open for a while
_HOP_SECONDS: Final = 60.0  # a redirect is followed at once

_TITLES: Final = {
    "invalid_state": "This authorization is not under way",
    "session_mismatch": "This authorization began in another browser",
    "issuer_mismatch": "The answer comes from another authorization server",
    "access_denied": "The authorization was declined",
}

_log = structlog.get_logger()


class Authorize:
    """Answers `/oauth/…`."""

    def __init__(self, rules: Rules, ports: Ports, pages: Pages, tickets: Tickets, clock: Clock) -> None:
        self._rules = rules
        self._ports = ports
        self._pages = pages
        self._tickets = tickets
        self._clock = clock

    async def answer(self, call: Call) -> web.Response:
        """Answer a call."""
        if call.route.page is Page.CALLBACK:
            return await self._callback(call)
        found = named(self._ports.watch.connections(), call.route.name)
        if found is None:
            return await self._say("There is no such connection", "It may have left with the last reload.", status=404)
        if call.route.page is Page.DONE:
            page = await html.render("done.html", row=row(found, self._clock.wall()), root=_ROOT)
            return answers.page(page)
        try:
            return await self._start(call, found)
        except Refusal as refusal:
            return await self._say(refusal.problem.title, refusal.detail, status=refusal.problem.status)

    # The way out

    async def _start(self, call: Call, found: ConnectionStatus) -> web.Response:
        name = found.name
        if not found.can_authorize:
            return await self._say("Nothing to authorize", f"The grant of {name} needs nobody's consent.", status=404)
        ticket = call.parameters().get("go", "")
        hopped = self._tickets.good(f"hop {name}", ticket)
        if not (hopped or call.visit.wanted or self._tickets.good(f"link {name}", ticket)):
            # Another site's page must not begin anything: whoever looks at this page decides.
            go = self._tickets.issue(f"link {name}", _LINK_SECONDS)
            return answers.page(await html.render("start.html", row=row(found, self._clock.wall()), go=go, root=_ROOT))
        if found.grant_type == "device_code":
            return await self._device(found)
        # After one hop a Host that still differs was rewritten on its way to us: the browser is where it should be.
        elsewhere = None if hopped else await self._elsewhere(call, found)
        if elsewhere is not None:
            return elsewhere
        started = await self._ports.authorizations.start(name)
        secure = started.redirect_origin.startswith("https://")
        known = cookies.sessions(call.cookies, secure_only=secure)
        _log.info("authorization_started", connection=name)
        return answers.see_other(started.url, cookie=cookies.set_cookie(known, started.session.reveal(), secure=secure))

    async def _elsewhere(self, call: Call, found: ConnectionStatus) -> web.Response | None:
        """Return the way to the same start on the redirect URL's origin; None when it is this one."""
        base, callback, _ = (found.redirect_url or "").partition(_CALLBACK)
        authority = urlsplit(base).netloc.lower()
        if not callback or not self._rules.knows_host(authority, call.visit.local):
            text = (
                f"The redirect URL of {found.name} does not lead to this proxy. Authorize it on the command line: "
                f"iclient-proxy authorize {found.name} --paste"
            )
            return await self._say("The browser would not come back here", text, status=409)
        if _authority(authority, base) == _authority(call.host, base):
            return None
        ticket = self._tickets.issue(f"hop {found.name}", _HOP_SECONDS)
        return answers.see_other(f"{base}/oauth/start/{found.name}?go={ticket}")

    async def _device(self, found: ConnectionStatus) -> web.Response:
        device = await self._ports.authorizations.device(found.name)
        page = await html.render(
            "device.html",
            row=row(found, self._clock.wall()),
            device=device,
            minutes=int(device.expires_in // 60),
            # They come from the authorization server: nothing but a web address becomes a link.
            links=all(
                uri is None or uri.startswith(("https://", "http://"))
                for uri in (device.verification_uri, device.verification_uri_complete)
            ),
            root=_ROOT,
        )
        return answers.page(page)

    # The way back

    async def _callback(self, call: Call) -> web.Response:
        sessions = cookies.sessions(call.cookies, secure_only=self._rules.secure(call.host))
        try:
            finished = await self._ports.authorizations.finish(call.route.name, call.query, sessions)
        except AuthorizationError as error:
            _log.warning("authorization_failed", code=error.code, path_name=call.route.name)
            title = _TITLES.get(error.code, "The authorization did not succeed")
            return await self._say(title, error.message, status=error.status)
        except Refusal as refusal:
            return await self._say(refusal.problem.title, refusal.detail, status=refusal.problem.status)
        # Code and state leave the address bar, and with it the history (RFC 9700 §4.3).
        return answers.see_other(f"../done/{finished.connection}")

    async def _say(self, title: str, text: str, *, status: int) -> web.Response:
        return await self._pages.message(title, text, status=status, root=_ROOT)


def _authority(authority: str, base: str) -> str:
    """Return host and port without the port that the scheme of `base` implies anyway."""
    return authority.removesuffix(":443" if base.startswith("https:") else ":80")
