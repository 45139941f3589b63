"""The API of the admin listener: JSON for programs, `problem+json` where the answer is no."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from proxy.admin import answers
from proxy.admin.ports import AuthorizationError
from proxy.admin.routes import Page
from proxy.admin.status import NOT_APPLICABLE, named
from proxy.errors import Refusal
from proxy.oauth.redirect import callback_name
from proxy.problem import PROBLEMS, Origin, Problem

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.admin.ports import Ports
    from proxy.admin.status import ConnectionStatus
    from proxy.admin.visits import Call

_log = structlog.get_logger()


class Api:
    """Asks the ports."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def answer(self, call: Call) -> web.Response:
        """Answer a call of `/api/…` or `/quitquitquit`."""
        match call.route.page:
            case Page.API_CONNECTIONS:
                return answers.data([status.as_json() for status in self._ports.watch.connections()])
            case Page.API_RELOAD:
                return await self._reload()
            case Page.QUIT:
                _log.info("quit_requested")
                self._ports.process.quit()
                return answers.text("draining\n")
            case _:
                return await self._action(call)

    async def _reload(self) -> web.Response:
        report = await self._ports.process.reload()
        return answers.data({"applied": report.applied, "changed": list(report.changed), "faults": list(report.faults)})

    async def _action(self, call: Call) -> web.Response:
        name = call.route.name
        found = named(self._ports.watch.connections(), name)
        if found is None:
            return answers.problem(PROBLEMS["no_route"], "no connection has that name")
        if found.state == NOT_APPLICABLE and call.route.action != "test":
            return answers.problem(PROBLEMS["no_route"], "this connection needs no token", connection=name)
        _log.info("asked", action=call.route.action, connection=name)
        try:
            return await self._done(call, found)
        except AuthorizationError as error:
            problem = Problem(
                error.code,
                error.status,
                Origin.AUTHORIZATION_SERVER if error.status >= 500 else Origin.DOWNSTREAM,
                "The authorization did not succeed",
                "http_request_denied",
            )
            return answers.problem(problem, error.message, connection=name)
        except Refusal as refusal:
            return answers.problem(refusal.problem, refusal.detail, connection=name, retry_after=refusal.retry_after)

    async def _done(self, call: Call, found: ConnectionStatus) -> web.Response:
        name, ports = found.name, self._ports
        match call.route.action:
            case "renew":
                await ports.tokens.renew(name)
            case "revoke":
                return answers.data({"outcomes": list(await ports.tokens.revoke(name))})
            case "test":
                result = await ports.tokens.test(name)
                return answers.data(
                    {"status": result.status, "good": result.good, "detail": result.detail, "ms": round(result.ms, 1)}
                )
            case "authorize":
                started = await ports.authorizations.start(name)
                # Its caller is the browser here: `authorize --paste` hands the session back with the redirected URL.
                return answers.data({"authorization_url": started.url, "session": started.session.reveal()})
            case "device":
                device = await ports.authorizations.device(name)
                return answers.data(
                    {
                        "user_code": device.user_code,
                        "verification_uri": device.verification_uri,
                        "verification_uri_complete": device.verification_uri_complete,
                        "expires_in": device.expires_in,
                    }
                )
            case _:
                url, session = call.texts("url", "session")
                path_name = callback_name(found.redirect_url or "", found.iclient or name)
                await ports.authorizations.finish(path_name, _query(url), (session,))
        return answers.data((named(ports.watch.connections(), name) or found).as_json())


def _query(url: str) -> str:
    try:
        return urlsplit(url.strip()).query
    except ValueError as error:
        raise Refusal(PROBLEMS["bad_request"], "what was pasted is not a URL") from error
