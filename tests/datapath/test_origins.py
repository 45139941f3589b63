"""Web pages of other sites may not borrow the proxy: what browsers say of themselves decides."""

from __future__ import annotations

import pytest

from tests.support.scripts import OK_BODY, tunnels
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "listeners": {
        "reverse": {
            "bind": "127.0.0.1:0",
            "allow_origins": ["https://app.example"],
            "allowed_hosts": ["proxy.example"],
        },
        "admin": {"bind": "127.0.0.1:0"},
    }
}
UPGRADE = [b"Connection: Upgrade", b"Upgrade: websocket"]
BROWSER = b"Sec-Fetch-Mode: cors"
FOREIGN = [
    pytest.param([b"Sec-Fetch-Site: cross-site"], id="cross-site"),
    pytest.param([b"Sec-Fetch-Site: Cross-Site", b"Sec-Fetch-Mode: no-cors"], id="capitals"),
    pytest.param([b"Origin: https://evil.example", BROWSER], id="foreign-origin"),
    pytest.param([b"Origin: null", BROWSER], id="null"),
    pytest.param([b"Origin:", BROWSER], id="empty"),
    pytest.param([b"Origin: https://app.example.evil", BROWSER], id="suffix"),
    pytest.param([b"Origin: http://app.example", BROWSER], id="other-scheme"),
    pytest.param([b"Origin: https://app.example:444", BROWSER], id="other-port"),
    pytest.param([b"Origin: http://localhost:1", b"Sec-Fetch-Site: same-site"], id="other-local-port"),
    pytest.param([b"Origin: https://evil.example", *UPGRADE], id="websocket"),
    pytest.param([b"Origin: null", *UPGRADE], id="websocket-null"),
    pytest.param([b"Origin: https://app.example", b"Origin: https://evil.example", BROWSER], id="two"),
]


@pytest.mark.case("A-350", "A-352", "A-353")
@pytest.mark.parametrize("fields", FOREIGN)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_page_of_another_site_is_refused_before_any_token(case: Case, fields: list[bytes], method: bytes):
    refused = await case.ask(case.request(*fields, method=method))
    assert (refused.status, refused.code) == (403, "cross_site")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("A-350")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"Origin: https://evil.example"], id="no-browser"),
        pytest.param([b"Origin: https://app.example", BROWSER], id="allowed"),
        pytest.param([b"Origin: https://app.example", b"Sec-Fetch-Site: cross-site"], id="allowed-cross-site"),
        pytest.param([b"Origin: HTTPS://APP.example", BROWSER], id="capitals"),
        pytest.param([b"Origin: http://OWN", BROWSER], id="own"),
        pytest.param([b"Origin: http://UPSTREAM", BROWSER], id="upstream"),
        pytest.param([b"Sec-Fetch-Site: same-origin"], id="same-origin"),
        pytest.param([b"Sec-Fetch-Site: none", b"Sec-Fetch-Mode: navigate"], id="typed-in"),
    ],
)
async def test_a_page_that_may_gets_through(case: Case, fields: list[bytes]):
    own = case.host.removeprefix(b"Host: ")
    upstream = b"127.0.0.1:%d" % case.upstream.port
    given = [field.replace(b"OWN", own).replace(b"UPSTREAM", upstream) for field in fields]
    answered = await case.ask(case.request(*given))
    assert (answered.status, answered.body) == (200, OK_BODY)
    kept = [b"%b: %b" % pair for pair in case.upstream.requests[0].fields]
    assert set(given) <= set(kept)


@pytest.mark.case("A-353")
@pytest.mark.parametrize("origin", [b"https://app.example", b"http://OWN"])
async def test_a_websocket_of_a_page_that_may_gets_through(case: Case, origin: bytes):
    case.upstream.answers(tunnels())
    client = await case.connect()
    await client.send(case.request(b"Origin: " + origin.replace(b"OWN", case.host.removeprefix(b"Host: ")), *UPGRADE))
    assert (await client.response(upgrade=True)).status == 101
    await client.send(b"frame")
    assert await client.read_exactly(5) == b"frame"
    client.reset()


@pytest.mark.case("D-139")
@pytest.mark.parametrize("host", [b"proxy.example", b"PROXY.example:8080", b"proxy.example."])
async def test_a_host_that_the_operator_allows_is_answered(case: Case, host: bytes):
    answered = await case.ask(case.raw(b"GET %s/x HTTP/1.1" % case.prefix, b"Host: " + host))
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert case.upstream.requests[0].values(b"host") == [b"127.0.0.1:%d" % case.upstream.port]
