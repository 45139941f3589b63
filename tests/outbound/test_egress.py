"""Streams through a company's proxy: what is asked of it, what is left unread, and each way in which it can fail."""

import asyncio
import base64
from contextlib import asynccontextmanager

import pytest
import uvloop

from proxy.definitions import settings
from proxy.errors import Refusal
from proxy.oauth.failure import EndpointFault, Outcome
from proxy.oauth.material import Material
from proxy.oauth.request import own_grant
from proxy.outbound.destinations import Destinations
from proxy.outbound.dial import reach
from proxy.outbound.egress import Egress, Gate
from proxy.outbound.resolve import Resolver
from proxy.outbound.token_endpoint import TokenEndpoint
from proxy.secret import Secret
from tests.oauth.answers import connection
from tests.outbound.test_token_endpoint import LIMITS, SHORT, client_of
from tests.support.authorization_server import AuthorizationServer
from tests.support.deadline import awaiting
from tests.support.egress_proxy import EgressProxy


def ways(proxy, *, credential=None, own=frozenset(), claimed=False, lookup=None):
    resolver = Resolver(lookup=lookup) if lookup else Resolver()
    at = settings.EgressProxy(
        host="127.0.0.1" if lookup is None else "proxy.example",
        port=proxy.port,
        credential=Secret(credential) if credential else None,
    )
    gate = Gate(at, resolver, lambda: Destinations(own=own))
    return gate, Egress(gate, lambda: Destinations(own=own), claimed=claimed)


async def opened(way, host, port, seconds=5.0):
    reader = asyncio.StreamReader()

    def protocol():
        return asyncio.StreamReaderProtocol(reader)

    transport, _ = await reach(way, host, port, seconds, lambda address: way.open(protocol, address, host, port))
    return reader, transport


@asynccontextmanager
async def greeter():
    """A server that speaks first, and then gives back what it hears."""

    async def serve(reader, writer):
        writer.write(b"220 ready\r\n")
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def refusal_of(way, host="upstream.example", port=443, seconds=5.0):
    with pytest.raises(Refusal) as raised:
        await opened(way, host, port, seconds)
    return raised.value


async def test_a_destination_is_asked_for_by_name_and_what_it_says_first_arrives_whole():
    async with greeter() as port, EgressProxy(hosts={"upstream.example": "127.0.0.1"}) as proxy:
        _, way = ways(proxy, credential="us er:p:ä")
        reader, transport = await opened(way, "upstream.example", port)
        transport.write(b"hello")

        async with awaiting("what the destination says"):
            assert await reader.readexactly(16) == b"220 ready\r\nhello"
        transport.close()

    authority = b"upstream.example:%d" % port
    pair = base64.b64encode("us er:p:ä".encode())
    assert proxy.heads == [
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic %b\r\n\r\n" % (authority, authority, pair)
    ]


async def test_an_address_of_the_destination_is_written_in_brackets():
    async with EgressProxy(answer=b"HTTP/1.1 200 OK\r\n\r\n") as proxy:
        _, way = ways(proxy)
        _, transport = await opened(way, "2001:db8::1", 443)
        transport.close()

    assert proxy.heads == [b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"]


FAILURES = [
    (b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", "upstream_refused", "407"),
    (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "upstream_refused", "403"),
    (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "upstream_refused", "502"),
    (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", "upstream_connect_timeout", "504"),
    (b"SSH-2.0-OpenSSH\r\n\r\n", "upstream_protocol_error", "HTTP/1.1"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "upstream_protocol_error", "bytes"),
    (b"HTTP/1.1 200 OK\r\n", "upstream_reset", "closed the stream"),
]


@pytest.mark.parametrize(("answer", "code", "words"), FAILURES)
async def test_a_failure_of_the_proxy_says_that_it_is_the_proxys(answer, code, words):
    async with EgressProxy(answer=answer) as proxy:
        _, way = ways(proxy, credential="user:canary")
        refusal = await refusal_of(way)

    assert refusal.problem.code == code
    assert refusal.detail.startswith("egress_proxy ")
    assert words in refusal.detail
    assert "canary" not in refusal.detail


async def test_interim_responses_come_before_the_one_that_counts():
    async with EgressProxy(answer=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nfirst words") as proxy:
        _, way = ways(proxy)
        reader, transport = await opened(way, "upstream.example", 443)

        async with awaiting("the destination's words"):
            assert await reader.readexactly(11) == b"first words"
        transport.close()


async def test_a_proxy_that_does_not_listen_or_answer_is_told_from_an_upstream():
    async with EgressProxy() as proxy:
        pass
    _, way = ways(proxy)
    refused = await refusal_of(way)

    assert (refused.problem.code, refused.detail) == ("upstream_refused", "egress_proxy does not accept streams")


async def test_a_proxy_that_says_nothing_is_a_timeout_of_the_proxy():
    async with EgressProxy(answer=None) as proxy:
        _, way = ways(proxy)
        late = await refusal_of(way, seconds=0.1)

    assert (late.problem.code, late.detail) == (
        "upstream_connect_timeout",
        "no stream to egress_proxy within timeouts.connect",
    )


async def test_a_proxy_without_a_name_is_told_from_an_upstream_without_one():
    def nobody(*_, **__):
        raise OSError

    async with EgressProxy() as proxy:
        _, way = ways(proxy, lookup=nobody)
        unknown = await refusal_of(way)

    assert unknown.problem.code == "dns_error"
    assert unknown.detail.startswith("egress_proxy")


@pytest.mark.case("F-257")
async def test_a_proxy_that_is_this_very_process_is_a_loop():
    async with EgressProxy() as proxy:
        _, way = ways(proxy, own=frozenset({("127.0.0.1", proxy.port)}))
        loop = await refusal_of(way)

    assert (loop.problem.code, proxy.heads) == ("proxy_loop_detected", [])


@pytest.mark.case("F-247")
@pytest.mark.parametrize("host", ["169.254.169.254", "metadata.google.internal", "::ffff:169.254.169.254", "127.1"])
async def test_what_is_never_dialled_is_not_asked_of_the_proxy(host):
    async with EgressProxy() as proxy:
        _, way = ways(proxy, claimed=True)
        refused = await refusal_of(way, host, 80)

    assert refused.problem.code in ("destination_prohibited", "bad_request")
    assert proxy.heads == []


async def request_token(url, authority, gate, limits=LIMITS):
    client = client_of(url, authority)
    endpoint = TokenEndpoint(client, limits, Resolver(), gate)
    async with awaiting("the end of a token request"):
        return await endpoint.send(own_grant(Material(connection(client), client, 1.8e9, bytes)))


async def test_token_requests_go_through_the_proxy_and_its_credential_stays_there():
    async with AuthorizationServer() as server, EgressProxy(hosts={"auth.example": "127.0.0.1"}) as proxy:
        gate, _ = ways(proxy, credential="user:canary")
        authority = f"auth.example:{server.port}"
        answer = await request_token(f"http://{authority}/token", authority, gate)

        assert answer.status == 200
        assert proxy.asked_for == [authority]
        assert server.asked[0].values("proxy-authorization") == []
        assert server.asked[0].values("host") == [authority]


async def test_a_token_request_that_the_proxy_refuses_says_so():
    async with EgressProxy(answer=FAILURES[0][0]) as proxy:
        gate, _ = ways(proxy)
        with pytest.raises(EndpointFault) as raised:
            await request_token("https://auth.example/token", "auth.example", gate, SHORT)

    assert (raised.value.outcome, raised.value.code) == (Outcome.TRANSPORT, "egress_proxy_failed")
    assert "407" in raised.value.reason


@pytest.mark.parametrize(
    ("story", "told"),
    [
        (test_a_destination_is_asked_for_by_name_and_what_it_says_first_arrives_whole, ()),
        (test_interim_responses_come_before_the_one_that_counts, ()),
        (test_a_proxy_that_says_nothing_is_a_timeout_of_the_proxy, ()),
        (test_token_requests_go_through_the_proxy_and_its_credential_stays_there, ()),
        (test_a_failure_of_the_proxy_says_that_it_is_the_proxys, FAILURES[-1]),
    ],
)
def test_the_same_on_the_loop_that_the_product_runs_on(story, told):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(story(*told)) is None
