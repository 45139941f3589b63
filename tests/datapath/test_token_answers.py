"""What a token answer decides beside the token: the upstream's origin, its path, header lines.

Real sockets and a real listener, its keeper played: a test says itself which answer serves when.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import trustme

from proxy.access_token import AccessToken, Refused
from proxy.clock import SystemClock
from proxy.definitions.models import Connection, Definitions, Replay, Route, Tls
from proxy.definitions.settings import Limits, Listeners, ReverseListener, TcpBind
from proxy.definitions.templates.placeholders import Ambient, compile_template, literal
from proxy.definitions.templates.urls import compile_url
from proxy.errors import TokenUnavailable
from proxy.exchange.plan import Plan
from proxy.exchange.record import ConnectionCounters
from proxy.outbound.resolve import Resolver
from proxy.problem import PROBLEMS
from proxy.runtime.assemble import Workshop
from proxy.runtime.doors import doors
from proxy.runtime.parts import Part
from proxy.secret import Secret
from tests.support.client import Client
from tests.support.deadline import awaiting, eventually
from tests.support.scripts import OK_BODY, replies, response, unauthorized
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.client import Response

AUTHORITY = trustme.CA()
ORIGIN = "{{{connection.token.fields.instance_url}}}"
HOSTS = ("one.acme.example", "two.acme.example")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("*.acme.example", "evil.example").configure_cert(context)
    return context


class Tokens:
    """Fills the plan's ports: `now` is the token that serves, None for none; a refused one gives way to `next`."""

    unproven = False

    def __init__(self) -> None:
        self.now: AccessToken | None = None
        self.next: AccessToken | None = None
        self.taken = 0
        self._generation = 0

    def answer(self, callback: dict[str, str] | None = None, **fields: object) -> AccessToken:
        """Return the token of one more answer with these members."""
        self._generation += 1
        secret = Secret(f"canary-token-{self._generation}")
        return AccessToken(secret, self._generation, fields, callback or {})

    def take(self) -> AccessToken | None:
        self.taken += 1
        return self.now

    async def wait(self) -> AccessToken:
        if self.now is None:
            raise TokenUnavailable(PROBLEMS["token_unavailable"], "there is none", retry_after=1)
        return self.now

    def refused(self, token: AccessToken, *, replayed: bool) -> Refused:
        assert token is self.now or replayed
        self.now = self.next
        return Refused.RELAY if replayed else Refused.RETRY

    def accepted(self, token: AccessToken) -> None:
        pass


class Proxy:
    """A listener with one connection, `crm`, and two upstreams over TLS, one and two, that both could serve it."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.asked_for: list[str] = []
        resolver = Resolver(lookup=self._lookup)
        settings = Definitions(limits=Limits(connections=100))
        self.workshop = Workshop(
            settings, clock=SystemClock(), entropy=random.Random(7), recorder=None, resolver=resolver
        )
        self.one = Upstream(listen(), _context())
        self.two = Upstream(listen(), _context())
        self._streams: list[Client] = []
        self._parts: list[Part] = []

    def _lookup(self, host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        self.asked_for.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    def origin(self, upstream: Upstream) -> str:
        """Return the origin by which an upstream is known."""
        return f"https://{'one' if upstream is self.one else 'two'}.acme.example:{upstream.port}"

    def comes_from(self, upstream: Upstream) -> AccessToken:
        """Let a token serve whose answer names this upstream."""
        self.tokens.now = self.tokens.answer(instance_url=self.origin(upstream))
        return self.tokens.now

    async def defines(self, *, tokens: bool = True, **keys: object) -> None:
        """Open the listener for a connection with these keys beside the usual ones."""
        trusts = Tls(ca=AUTHORITY.cert_pem.bytes().decode())
        connection = replace(
            Connection(name="crm", base_url=compile_url(ORIGIN), route=Route(prefix="/crm"), hosts=HOSTS, tls=trusts),
            **keys,  # type: ignore[arg-type]
        )
        part = self.workshop.part(connection, spread=0.0)
        if tokens:
            counters = ConnectionCounters("crm")
            ambient = Ambient(0.0, random.Random(7).randbytes)
            plan = Plan(connection, part.pools, self.tokens, self.tokens, counters, lambda: ambient)
            part = replace(part, plan=plan)
        self._parts.append(part)
        bind = TcpBind(host="127.0.0.1", port=0)
        listeners = Listeners(reverse=(ReverseListener(bind=bind),))
        [door] = doors(Definitions(listeners=listeners, connections=(connection,)))
        self._listener = self.workshop.listener(door, {"crm": part})
        host, _, port = (await self._listener.start()).rpartition(":")
        self._address = host, int(port)

    async def start(self) -> None:
        await self.one.start()
        await self.two.start()
        self.workshop.sweep.start()

    async def ask(self, *fields: bytes, target: bytes = b"/x", method: bytes = b"GET", body: bytes = b"") -> Response:
        """Send one request on a stream of its own."""
        client = await Client.connect(self._address)
        self._streams.append(client)
        lines = [b"%s /crm%s HTTP/1.1" % (method, target), b"Host: localhost", *fields]
        if body:
            lines.append(b"Content-Length: %d" % len(body))
        return await client.ask(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    async def assert_serves(self, upstream: Upstream, *fields: bytes, target: bytes = b"/x") -> None:
        """Ask, and see the answer come from this upstream with the token that serves."""
        before = len(upstream.requests)
        answered = await self.ask(*fields, target=target)
        assert (answered.status, answered.body) == (200, OK_BODY), answered
        assert len(upstream.requests) == before + 1

    async def assert_refused(self, status: int, code: str, *fields: bytes) -> str:
        """Ask, and see an own answer and no upstream asked; return its detail."""
        before = [len(self.one.requests), len(self.two.requests)]
        refused = await self.ask(*fields)
        assert (refused.status, refused.code) == (status, code)
        assert [len(self.one.requests), len(self.two.requests)] == before
        return str(refused.problem()["detail"])

    async def close(self) -> None:
        for stream in self._streams:
            await stream.close()
        self._listener.stop_accepting()
        self._listener.abort()
        for part in self._parts:
            await part.pools.close()
        self.workshop.sweep.stop()
        await self.one.close()
        await self.two.close()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[Proxy]:
    made = Proxy()
    await made.start()
    try:
        yield made
    finally:
        await made.close()


# The origin


async def test_a_token_goes_only_to_the_origin_that_came_with_it(proxy: Proxy):
    await proxy.defines()
    first = proxy.comes_from(proxy.one)
    await proxy.assert_serves(proxy.one)
    second = proxy.comes_from(proxy.two)
    await proxy.assert_serves(proxy.two)

    assert [request.token for request in proxy.one.requests] == [first.value.reveal()]
    assert [request.token for request in proxy.two.requests] == [second.value.reveal()]
    assert proxy.asked_for == ["one.acme.example", "two.acme.example"]
    assert proxy.two.requests[0].values(b"host") == [f"two.acme.example:{proxy.two.port}".encode()]


async def test_another_token_for_the_same_origin_uses_the_same_streams(proxy: Proxy):
    await proxy.defines()
    for _ in range(3):
        proxy.comes_from(proxy.one)
        await proxy.assert_serves(proxy.one)

    assert len(proxy.one.streams) == 1


async def test_the_streams_to_an_origin_that_a_token_left_are_closed(proxy: Proxy):
    await proxy.defines()
    for _ in range(4):
        for upstream in (proxy.one, proxy.two):
            proxy.comes_from(upstream)
            await proxy.assert_serves(upstream)
    async with awaiting("the end of every stream but the last"):
        for stream in (*proxy.one.streams, *proxy.two.streams[:-1]):
            await stream.lost.wait()

    assert len(proxy.one.streams) == len(proxy.two.streams) == 4
    await eventually("one pool", lambda: len(proxy.workshop.stream_limit.pools) == 1)


async def test_a_request_that_is_under_way_to_the_old_origin_is_still_answered(proxy: Proxy):
    await proxy.defines()
    gate = asyncio.Event()
    proxy.one.answers(replies(gate, response()))
    proxy.comes_from(proxy.one)
    under_way = asyncio.create_task(proxy.ask(), name="under way")
    await eventually("the first request", lambda: len(proxy.one.requests) == 1)
    proxy.comes_from(proxy.two)
    await proxy.assert_serves(proxy.two)
    gate.set()

    assert (await under_way).status == 200


@pytest.mark.parametrize(
    "value",
    [
        "https://evil.example",
        "https://one.acme.example.evil.example",
        "https://evil.example/one.acme.example",
        "https://one.acme.example@evil.example",
        "https://evil.example#one.acme.example",
        "http://one.acme.example",
        "https://2130706433",
        "https://169.254.169.254",
        "one.acme.example",
        "//one.acme.example",
        "https://one.acme.example/other",
        "https://one.acme.example\r\nX-Evil: 1",
        "https://one.acme.example\\@evil.example",
        "https://öne.acme.example",
        "",
        7,
        None,
        ["https://one.acme.example"],
        {"url": "https://one.acme.example"},
    ],
    ids=repr,
)
async def test_an_origin_outside_the_hosts_gets_no_request_and_is_not_even_looked_up(proxy: Proxy, value: object):
    await proxy.defines()
    proxy.tokens.now = proxy.tokens.answer(instance_url=value)
    detail = await proxy.assert_refused(502, "upstream_outside_hosts")

    assert "evil" not in detail
    assert proxy.asked_for == []
    proxy.comes_from(proxy.one)
    await proxy.assert_serves(proxy.one)


async def test_an_answer_without_the_member_says_which_one_is_missing(proxy: Proxy):
    await proxy.defines()
    proxy.tokens.now = proxy.tokens.answer()

    assert "connection.token.fields.instance_url" in await proxy.assert_refused(502, "upstream_outside_hosts")


@pytest.mark.parametrize(
    ("hosts", "served"), [(("*.acme.example",), True), (("*.one.acme.example",), False), ((), False)]
)
async def test_a_claim_with_a_star_holds_below_its_domain_only(proxy: Proxy, hosts: tuple[str, ...], served: bool):
    await proxy.defines(hosts=hosts)
    proxy.comes_from(proxy.one)
    if served:
        await proxy.assert_serves(proxy.one)
    else:
        await proxy.assert_refused(502, "upstream_outside_hosts")


async def test_a_label_of_the_host_is_held_to_the_hosts_too(proxy: Proxy):
    await proxy.defines(
        base_url=compile_url(f"https://{{{{{{connection.token.fields.pod}}}}}}.acme.example:{proxy.one.port}")
    )
    proxy.tokens.now = proxy.tokens.answer(pod="one")
    await proxy.assert_serves(proxy.one)
    proxy.tokens.now = proxy.tokens.answer(pod="three")
    await proxy.assert_refused(502, "upstream_outside_hosts")


# Path and locations


async def test_path_and_locations_are_those_of_the_rendered_base_url(proxy: Proxy):
    await proxy.defines(base_url=compile_url(ORIGIN + "/services/{{{connection.token.fields.version}}}"))
    origin = proxy.origin(proxy.one)
    proxy.tokens.now = proxy.tokens.answer(instance_url=origin, version="v 1")
    location = f"Location: {origin}/services/v%201/there?a=b".encode()
    proxy.one.answers(replies(response(b"", location, status=b"302 Found")))
    answered = await proxy.ask(target=b"/here?c=d")

    assert proxy.one.requests[0].target == b"/services/v%201/here?c=d"
    assert answered.values(b"location") == [b"/crm/there?a=b"]
    dotted = await proxy.ask(target=b"/../x")
    assert (dotted.status, dotted.code) == (400, "bad_request")


async def test_a_path_may_depend_on_the_redirect_without_hosts(proxy: Proxy):
    url = f"{proxy.origin(proxy.one)}/company/{{{{{{connection.callback.realmId}}}}}}"
    await proxy.defines(base_url=compile_url(url), hosts=())
    proxy.tokens.now = proxy.tokens.answer({"realmId": "91/30?x=1"})
    await proxy.assert_serves(proxy.one)

    assert proxy.one.requests[0].target == b"/company/91%2F30%3Fx%3D1/x"


# Headers


async def test_headers_come_from_the_answer_and_replace_what_the_application_sent(proxy: Proxy):
    headers = (
        ("X-Api-Key", compile_template("key {{{connection.token.access_token}}}")),
        ("X-Company", compile_template("{{{connection.callback.realmId}}}")),
        ("X-Fixed", literal("always")),
        ("X-Gone", None),
    )
    await proxy.defines(headers=headers)
    token = proxy.tokens.now = proxy.tokens.answer({"realmId": "91"}, instance_url=proxy.origin(proxy.one))
    await proxy.assert_serves(proxy.one, b"x-api-key: mine", b"X_Company: mine", b"X-GONE: mine", b"X-Other: stays")
    proxy.tokens.now = proxy.tokens.answer({"realmId": "92"}, instance_url=proxy.origin(proxy.one))
    await proxy.assert_serves(proxy.one)

    first, second = (
        [(n, v) for n, v in request.fields if n.lower().startswith(b"x")] for request in proxy.one.requests
    )
    assert first == [
        (b"X-Other", b"stays"),
        (b"X-Api-Key", b"key " + token.value.reveal().encode()),
        (b"X-Company", b"91"),
        (b"X-Fixed", b"always"),
    ]
    assert second[:2] == [(b"X-Api-Key", b"key canary-token-2"), (b"X-Company", b"92")]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\x00", "ä", "\x7f", None, ["a"], {}], ids=repr)
async def test_a_header_that_can_not_be_sent_gets_no_request(proxy: Proxy, value: object):
    await proxy.defines(headers=(("X-Team", compile_template("{{{connection.token.fields.team}}}")),))
    proxy.tokens.now = proxy.tokens.answer(instance_url=proxy.origin(proxy.one), team=value)

    assert "headers.X-Team: " in await proxy.assert_refused(500, "placeholder_unresolved")


async def test_a_header_that_changes_is_made_for_each_request(proxy: Proxy):
    headers = (("X-Nonce", compile_template("{{{uuid}}}")), ("X-Key", compile_template("{{{connection.secrets.key}}}")))
    secrets = (("key", Secret("canary-key")),)
    await proxy.defines(tokens=False, base_url=proxy.origin(proxy.one), headers=headers, secrets=secrets)
    await proxy.assert_serves(proxy.one)
    await proxy.assert_serves(proxy.one)

    first, second = (request.values(b"x-nonce") for request in proxy.one.requests)
    assert first != second
    assert [request.values(b"x-key") for request in proxy.one.requests] == [[b"canary-key"]] * 2


async def test_a_header_that_never_stands_for_anything_is_told_to_each_request(proxy: Proxy):
    headers = (("X-Back", compile_template("{{{iclient.redirect_url}}}")),)
    await proxy.defines(base_url=proxy.origin(proxy.one), headers=headers)
    proxy.comes_from(proxy.one)

    assert "iclient.redirect_url" in await proxy.assert_refused(500, "placeholder_unresolved")


# With no token, and with the application's own


async def test_where_no_token_is_to_be_had_its_headers_are_left_alone(proxy: Proxy):
    headers = (("X-Api-Key", compile_template("{{{connection.token.access_token}}}")), ("X-Fixed", literal("always")))
    await proxy.defines(base_url=proxy.origin(proxy.one), headers=headers, on_no_token="passthrough")
    await proxy.assert_serves(proxy.one, b"X-Api-Key: own", b"X-Fixed: own")

    [request] = proxy.one.requests
    assert (request.values(b"x-api-key"), request.values(b"x-fixed"), request.token) == ([b"own"], [b"always"], "")


async def test_where_only_a_token_tells_the_origin_a_request_without_one_is_refused(proxy: Proxy):
    await proxy.defines(on_no_token="passthrough")
    await proxy.assert_refused(503, "token_unavailable")


async def test_a_credential_of_the_application_goes_where_the_token_would_and_nothing_of_the_token_with_it(
    proxy: Proxy,
):
    headers = (("X-Api-Key", compile_template("{{{connection.token.access_token}}}")),)
    await proxy.defines(headers=headers, on_client_credential="passthrough")
    proxy.comes_from(proxy.two)
    await proxy.assert_serves(proxy.two, b"Authorization: Bearer own")
    await proxy.assert_serves(proxy.two)

    own, ours = proxy.two.requests
    assert (own.token, own.values(b"x-api-key")) == ("own", [])
    assert (ours.token, ours.values(b"x-api-key")) == ("canary-token-1", [b"canary-token-1"])


async def test_a_credential_of_the_application_needs_no_token_where_the_origin_is_known(proxy: Proxy):
    headers = (("X-Api-Key", compile_template("{{{connection.token.access_token}}}")),)
    base_url = proxy.origin(proxy.one)
    await proxy.defines(base_url=base_url, headers=headers, on_client_credential="passthrough")
    await proxy.assert_serves(proxy.one, b"Authorization: Bearer own")

    assert proxy.tokens.taken == 0


async def test_a_refused_credential_of_the_application_is_its_own_affair(proxy: Proxy):
    await proxy.defines(on_client_credential="passthrough")
    proxy.comes_from(proxy.one)
    proxy.one.answers(replies(unauthorized()))
    answered = await proxy.ask(b"Authorization: Bearer own")

    assert (answered.status, len(proxy.one.requests)) == (401, 1)
    assert proxy.tokens.now is not None


# The second attempt


async def test_a_second_attempt_goes_where_the_new_token_belongs(proxy: Proxy):
    await proxy.defines(replay=Replay())
    old = proxy.comes_from(proxy.one)
    proxy.tokens.next = proxy.tokens.answer(instance_url=proxy.origin(proxy.two))
    proxy.one.answers(replies(unauthorized()))
    answered = await proxy.ask(method=b"POST", body=b"all of it")

    assert (answered.status, answered.body) == (200, OK_BODY)
    assert [(request.token, request.body) for request in proxy.one.requests] == [(old.value.reveal(), b"all of it")]
    assert [(request.token, request.body) for request in proxy.two.requests] == [("canary-token-2", b"all of it")]


async def test_a_second_attempt_to_nowhere_is_an_own_answer(proxy: Proxy):
    await proxy.defines()
    proxy.comes_from(proxy.one)
    proxy.tokens.next = proxy.tokens.answer(instance_url="https://evil.example")
    proxy.one.answers(replies(unauthorized()))
    answered = await proxy.ask()

    assert (answered.status, answered.code) == (502, "upstream_outside_hosts")
    assert (len(proxy.one.requests), len(proxy.two.requests)) == (1, 0)


# What costs nothing where nothing depends


async def test_where_nothing_depends_on_an_answer_there_is_one_aim_for_all_requests(proxy: Proxy):
    headers = (("X-Key", compile_template("{{{connection.secrets.key}}}")), ("X-Gone", None))
    secrets = (("key", Secret("canary-key")),)
    await proxy.defines(base_url=proxy.origin(proxy.one), headers=headers, secrets=secrets)
    [part] = proxy._parts  # noqa: SLF001 the plan is nowhere else to be seen

    assert part.plan.aim is not None
    assert part.plan.aim.lines == b"X-Key: canary-key\r\n"
