"""The pages for people: all connections, one connection, and what their buttons do. They work without a script."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import structlog

from proxy.admin import answers, html
from proxy.admin.notes import Note, Notes
from proxy.admin.routes import Page
from proxy.admin.status import NOT_APPLICABLE, named
from proxy.admin.view import groups, happenings, instant, row
from proxy.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from proxy.admin.ports import Ports
    from proxy.admin.status import ConnectionStatus
    from proxy.admin.tickets import Tickets
    from proxy.admin.visits import Call
    from proxy.clock import Clock

# The purpose of the ticket in every form, and how long a page may lie open before its buttons are pressed.
PAGE_TICKET: Final = "page"
_PAGE_SECONDS: Final = 86400.0
_EVENTS: Final = 50

_log = structlog.get_logger()


class Pages:
    """Renders what the ports show; `entropy` gives random bytes."""

    def __init__(self, ports: Ports, tickets: Tickets, clock: Clock, entropy: Callable[[int], bytes]) -> None:
        self._ports = ports
        self._tickets = tickets
        self._clock = clock
        self._notes = Notes(entropy)

    async def answer(self, call: Call) -> web.Response:
        """Answer a call of `/`, `/connections/…` or `/assets/…`."""
        route = call.route
        if route.page is Page.ASSET:
            media = html.ASSETS.get(route.name)
            if media is None:
                return await self.message(
                    "There is no such page", "Its address may be mistyped.", status=404, root="../"
                )
            return answers.asset(html.asset(route.name), media)
        if route.page is Page.STATUS:
            return await self._overview(call)
        found = named(self._ports.watch.connections(), route.name)
        if found is None:
            depth = 2 if route.page is Page.CONNECTION_ACTION else 1
            return await self.message(
                "There is no such connection", "It may have left with the last reload.", status=404, root="../" * depth
            )
        if route.page is Page.CONNECTION_ACTION:
            return await self._act(call, found)
        return await self._connection(call, found)

    async def message(self, title: str, text: str, *, root: str, status: int = 200, tone: str = "bad") -> web.Response:
        """Return a page that says one thing; `root` is the way from its path to `/`, as `../`."""
        return answers.page(
            await html.render("message.html", title=title, text=text, tone=tone, root=root, **self._surroundings()),
            status,
        )

    async def stale(self) -> web.Response:
        """Return the answer to a button of a page that is too old, or not ours at all."""
        text = "The page with that button is from before a restart, or too old. Press the button on a fresh one."
        return await self.message("Nothing was done", text, status=403, root="../../")

    async def _overview(self, call: Call) -> web.Response:
        now = self._clock.wall()
        watch = self._ports.watch
        connections = watch.connections()
        events = [(each.name, watch.events(each.name)) for each in connections]
        # A thousand connections take 0.1 s: not on the loop, where requests are relayed meanwhile.
        shown = await asyncio.to_thread(groups, connections, now)
        newest = await asyncio.to_thread(happenings, events, now, _EVENTS)
        page = await html.render(
            "overview.html",
            groups=shown,
            happenings=newest,
            note=self._note(call),
            root="",
            came="list",
            **self._surroundings(),
        )
        return answers.page(page)

    async def _connection(self, call: Call, found: ConnectionStatus) -> web.Response:
        now = self._clock.wall()
        page = await html.render(
            "connection.html",
            row=row(found, now),
            happenings=happenings([(found.name, self._ports.watch.events(found.name))], now, _EVENTS),
            note=self._note(call),
            root="../",
            came="connection",
            **self._surroundings(),
        )
        return answers.page(page)

    async def _act(self, call: Call, found: ConnectionStatus) -> web.Response:
        action = call.route.action
        _log.info("asked", action=action, connection=found.name)
        if found.state == NOT_APPLICABLE and action != "test":
            note = Note(found.name, good=False, text="It needs no token.")
        else:
            try:
                note = await self._done(action, found.name)
            except Refusal as refusal:
                note = Note(found.name, good=False, text=f"{refusal.problem.title}. {refusal.detail}")
        name = self._notes.add(note)
        # Relative, so that a prefix that an ingress takes off stays; back to where the button was.
        if call.form().get("came") == "connection":
            return answers.see_other(f"../{found.name}?note={name}")
        return answers.see_other(f"../../?note={name}#c-{found.name}")

    async def _done(self, action: str, name: str) -> Note:
        tokens = self._ports.tokens
        if action == "renew":
            await tokens.renew(name)
            return Note(name, good=True, text="The token was renewed.")
        if action == "revoke":
            outcomes = await tokens.revoke(name)
            return Note(name, good=True, text=f"The grant was revoked: {', '.join(outcomes) or 'there was nothing'}.")
        result = await tokens.test(name)
        came = "No response came" if result.status is None else f"The API answered with {result.status}"
        return Note(name, good=result.good, text=f"{came} after {round(result.ms)} ms. {result.detail}".rstrip())

    def _note(self, call: Call) -> Note | None:
        name = call.parameters().get("note")
        # A HEAD shows nothing, so it uses nothing up.
        return self._notes.take(name) if name and call.visit.method == "GET" else None

    def _surroundings(self) -> dict[str, object]:
        now = self._clock.wall()
        return {
            "ticket": self._tickets.issue(PAGE_TICKET, _PAGE_SECONDS),
            "as_of": instant(now, now),
            "version": _version(),
        }


@cache
def _version() -> str:
    return version("iclient-proxy")
