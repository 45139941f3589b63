"""The story the demo tells, step by step.

Every number in it is read from the embedded servers; only the metrics are the proxy's own word. The application is
Python's urllib, which knows nothing of OAuth.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.demo.definition import Ports, connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.demo.process import ProxyProcess
    from proxy.demo.world import World

_MORE: Final = 100
_SECONDS: Final = 30.0
_METRICS: Final = (
    r'requests_total{connection="crm",code="200"}',
    r'auth_errors_total{connection="crm",rule="status-401"}',
    r'replays_total{connection="crm",outcome="accepted"}',
    r'token_requests_total{connection="crm",grant="client_credentials",outcome="ok"}',
)
# No proxy of the environment: the application calls 127.0.0.1 and nobody else.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a step: who did or saw what, and what there is to say about it."""

    who: str
    what: str
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what happened, in one sentence, and whether it is what should have happened."""

    name: str
    title: str
    facts: tuple[Fact, ...]
    verdict: str
    happened: bool
    shown: str = ""


_NO_TOKEN: Final = Fact("api", "saw no token")


def tell(world: World, proxy: ProxyProcess) -> Iterator[Step]:
    """Live the story and yield each step as it is over; a step that did not happen is the last."""
    for chapter in (_definition, _first_call, _many_calls, _revocation, _metrics):
        step = chapter(world, proxy)
        yield step
        if not step.happened:
            return


def _definition(world: World, proxy: ProxyProcess) -> Step:
    ports = Ports(api=world.api_port, authorization_server=world.authorization_server_port)
    return Step(
        name="definition",
        title="The definition: which API, and how it wants its token",
        facts=(Fact("proxy", f"runs on {proxy.reverse}", "the secret came in a variable, it stands in no file"),),
        verdict="the proxy is up, and so are an API and its authorization server",
        happened=True,
        shown=connections(ports),
    )


def _first_call(world: World, proxy: ProxyProcess) -> Step:
    direct, _ = _get(f"http://127.0.0.1:{world.api_port}/contacts/42")
    status, body = _get(f"{proxy.reverse}/crm/contacts/42")
    token = world.api.seen[-1].token
    asked = world.authorization_server.requests
    return Step(
        name="first call",
        title="Your app calls the API, with no token at all",
        facts=(
            Fact("app", f"GET http://127.0.0.1:{world.api_port}/contacts/42", "straight to the API"),
            Fact("api", f"{direct}", "go away"),
            Fact("app", f"GET {proxy.reverse}/crm/contacts/42", "through the proxy, just as naked"),
            Fact("api", f"saw Authorization: Bearer {masked(token)}", "the proxy's work") if token else _NO_TOKEN,
            Fact("app", f"{status}  {body}"),
        ),
        verdict=f"token requests so far: {asked}",
        happened=(direct, status, asked) == (401, 200, 1) and token in world.authorization_server.issued,
    )


def _many_calls(world: World, proxy: ProxyProcess) -> Step:
    before = len(world.api.seen)
    statuses = [_get(f"{proxy.reverse}/crm/contacts/{number}")[0] for number in range(_MORE)]
    good = statuses.count(200)
    arrived = len(world.api.seen) - before
    asked = world.authorization_server.requests
    return Step(
        name="many calls",
        title=f"{_MORE} more calls",
        facts=(Fact("app", f"{good} times 200"), Fact("api", f"saw {arrived} requests, each with the same token")),
        verdict=f"token requests so far: {'still ' if asked == 1 else ''}{asked}",
        happened=(good, arrived, asked) == (_MORE, _MORE, 1)
        and len({seen.token for seen in world.api.seen[before:]}) == 1,
    )


def _revocation(world: World, proxy: ProxyProcess) -> Step:
    old = world.api.seen[-1].token
    _get(f"http://127.0.0.1:{world.api_port}/revoke", method="POST")
    before = len(world.api.seen)
    asked_before = world.authorization_server.requests
    status, body = _get(f"{proxy.reverse}/crm/contacts/42")
    seen = world.api.seen[before:]
    refused = sum(1 for each in seen if each.status == 401)
    renewed = world.authorization_server.requests - asked_before
    replayed = sum(1 for each in seen if each.status == 200 and each.token != old)
    return Step(
        name="revocation",
        title="The API revokes the token behind everybody's back",
        facts=(
            Fact("api", f"no longer takes {masked(old)}"),
            Fact("app", f"GET {proxy.reverse}/crm/contacts/42", "the app has not heard of it"),
            *(Fact("api", f"{each.status} to {masked(each.token)}") for each in seen),
            Fact("app", f"{status}  {body}", "and never will" if status == 200 else ""),
        ),
        verdict=f"refused {_times(refused)}, renewed {_times(renewed)}, replayed {_times(replayed)}",
        happened=(status, refused, renewed, replayed) == (200, 1, 1, 1),
    )


def _metrics(world: World, proxy: ProxyProcess) -> Step:
    _, text = _get(f"{proxy.admin}/metrics")
    counted = {name: _value(text, name) for name in _METRICS}
    # What the embedded servers saw is what the proxy has to have counted.
    expected = (_MORE + 2, 1, 1, len(world.authorization_server.issued))
    return Step(
        name="metrics",
        title="The proxy has counted, too",
        facts=tuple(Fact("", f"iclient_proxy_{name} {value}") for name, value in counted.items()),
        verdict="and the servers agree" if tuple(counted.values()) == expected else f"the servers say {expected}",
        happened=tuple(counted.values()) == expected,
    )


def masked(token: str) -> str:
    """Return enough of a token to tell it from another."""
    return f"{token[:5]}…{token[-4:]}" if token else "no token"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _value(text: str, name: str) -> int:
    found = re.search(rf"^iclient_proxy_{re.escape(name)} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _get(url: str, method: str = "GET") -> tuple[int, str]:
    """Return status and body; an error status is an answer, too, and no answer is status 0."""
    request = urllib.request.Request(url, method=method)  # noqa: S310  # our own URLs
    try:
        with _OPENER.open(request, timeout=_SECONDS) as response:
            return response.status, response.read().decode().strip()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode().strip()
    except OSError as error:
        return 0, str(error)
