"""Everything goes out through a company's proxy, where one is written; never where only our environment names one."""

from __future__ import annotations

import base64
import socket

import pytest
import pytest_asyncio

from tests.datapath.test_connect import ESTABLISHED, connect
from tests.datapath.test_forward import AUTHORITY, server_tls
from tests.support.destination import Destination
from tests.support.egress_proxy import EgressProxy
from tests.support.scripts import OK_BODY, replies, response, tunnels
from tests.support.stage import Case, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTENING = socket.socket()
CREDENTIAL = "user:canary-of-the-company"


def SETTINGS(_folder):  # noqa: N802 the name that the stage looks for
    LISTENING.bind(("127.0.0.1", 0))
    LISTENING.listen()
    port = LISTENING.getsockname()[1]
    return {
        "allow_inline_secrets": True,
        "egress_proxy": f"http://{CREDENTIAL}@127.0.0.1:{port}",
        "listeners": {
            "reverse": {"bind": "127.0.0.1:0"},
            "forward": {"bind": "127.0.0.1:0", "deny": ["denied.example"]},
            "admin": {"bind": "127.0.0.1:0"},
        },
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def company(stage: Stage):
    async with EgressProxy(listening=LISTENING) as proxy:
        yield proxy


@pytest.fixture
def asked(company: EgressProxy):
    """What this test asks of the proxy."""
    company.heads.clear()
    return company.heads


async def test_token_and_request_go_through_the_proxy(case: Case, asked: list[bytes], company: EgressProxy):
    answered = await case.ask(case.request())

    assert (answered.status, answered.body) == (200, OK_BODY)
    assert company.asked_for == [case.stage.tokens.authority, f"127.0.0.1:{case.upstream.port}"]
    given = b"Proxy-Authorization: Basic " + base64.b64encode(CREDENTIAL.encode())
    assert all(given in head.split(b"\r\n") for head in asked)
    assert case.upstream.requests[0].values(b"proxy-authorization") == []


async def test_a_stream_through_the_proxy_is_used_again(case: Case, asked: list[bytes]):
    client = await case.connect()
    for _ in range(3):
        assert (await client.ask(case.request())).status == 200

    assert len(asked) == 2
    assert len(case.upstream.streams) == 1


@pytest.mark.parametrize("case", [pytest.param(server_tls(), id="tls")], indirect=True)
@pytest.mark.connection(base_url="https://localhost:PORT", tls={"ca": AUTHORITY.cert_pem.bytes().decode()})
async def test_tls_is_between_us_and_the_upstream(case: Case, asked: list[bytes], company: EgressProxy):
    answered = await case.ask(case.request())

    assert (answered.status, answered.body) == (200, OK_BODY)
    assert company.asked_for[1:] == [f"localhost:{case.upstream.port}"]


async def test_an_upgrade_goes_through_the_proxy(case: Case, asked: list[bytes]):
    case.upstream.answers(tunnels())
    client = await case.connect()
    await client.send(case.request(b"Connection: Upgrade", b"Upgrade: websocket"))
    assert (await client.response(upgrade=True)).status == 101
    await client.send(b"frame")
    assert await client.read_exactly(5) == b"frame"
    client.reset()

    assert len(asked) == 2


async def test_what_the_proxy_refuses_is_told_from_what_the_upstream_refuses(
    case: Case, company: EgressProxy, asked: list[bytes]
):
    await case.warm()
    company.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"
    case.upstream.streams[-1].transport.abort()
    try:
        refused = await case.ask(case.request())
    finally:
        company.answer = b""

    assert (refused.status, refused.code) == (502, "upstream_refused")
    assert "egress_proxy answered 407" in refused.problem()["detail"]
    assert case.upstream_requests == 0


async def test_a_tunnel_goes_through_the_proxy(case: Case, asked: list[bytes], company: EgressProxy):
    async with Destination() as destination:
        client = await case.connect(case.stage.process.listening["forward"][0])
        await client.send(connect(destination.authority) + b"ahead")
        far = await destination.stream()
        assert await far.read_exactly(5) == b"ahead"
        far.write(b"hello")
        assert await client.read_exactly(len(ESTABLISHED) + 5) == ESTABLISHED + b"hello"
        client.half_close()
        assert await far.read_rest() == b""
        await far.close()
        assert await client.read_rest() == b""

    assert company.asked_for == [destination.authority.decode()]


@pytest.mark.case("F-247")
@pytest.mark.parametrize("host", [b"metadata.google.internal", b"169.254.169.254", b"denied.example"])
async def test_what_is_denied_is_not_asked_of_the_proxy(case: Case, asked: list[bytes], host: bytes):
    client = await case.connect(case.stage.process.listening["forward"][0])
    await client.send(connect(host + b":80"))

    assert (await client.response()).code == "destination_prohibited"
    assert asked == []


async def test_a_plain_request_that_nobody_claims_goes_through_the_proxy(
    case: Case, asked: list[bytes], company: EgressProxy
):
    case.upstream.always(replies(response(b"named by the proxy")))
    company.hosts["inside.example"] = "127.0.0.1"
    client = await case.connect(case.stage.process.listening["forward"][0])
    url = b"inside.example:%d" % case.upstream.port
    answered = await client.ask(case.raw(b"GET http://%b/x HTTP/1.1" % url, b"Host: " + url))

    assert (answered.status, answered.body) == (200, b"named by the proxy")
    assert company.asked_for == [url.decode()]


@pytest.mark.case("F-268")
async def test_a_proxy_of_our_own_environment_is_ignored(tmp_path):
    async with EgressProxy() as proxy:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        environment = dict.fromkeys(names, f"http://127.0.0.1:{proxy.port}")
        environment |= {name.lower(): value for name, value in environment.items()} | {"NO_PROXY": "", "no_proxy": ""}
        stage = Stage({"crm": {}}, {})
        await stage.start(tmp_path, environment=environment)
        case = await stage.case("crm")
        try:
            answered = await case.ask(case.request())
        finally:
            await case.close()
            await stage.close()

    assert (answered.status, answered.body) == (200, OK_BODY)
    assert proxy.heads == []
