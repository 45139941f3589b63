import asyncio
import json
import socket

import pytest

from proxy.admin.status import ConnectionStatus
from proxy.secret import Secret
from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.outside import own_address

CRM = ConnectionStatus(
    "crm",
    iclient="acme",
    grant_type="client_credentials",
    state="backoff",
    expires_at=1767323045.0,
    last_renewal_at=1767319445.9,
    last_error="transport",
    next_action="renew",
    next_attempt_at=1767323046.0,
)
PROBES = pytest.mark.parametrize("path", [b"/livez", b"/readyz", b"/startupz", b"/metrics"])


@pytest.fixture
async def local(admin):
    await admin.start()
    return admin


@PROBES
async def test_probes_and_metrics_answer_every_host_and_every_origin(local, path):
    local.health.opened()

    for host in (b"attacker.example", b"0.0.0.0:1", b"localhost"):
        response = await local.ask(path, b"Origin: https://evil.example", b"Sec-Fetch-Site: cross-site", host=host)
        assert response.status == 200
        assert response.values(b"cache-control") == [b"no-store"]
        assert not [name for name, _ in response.fields if name.lower().startswith(b"access-control-")]


@PROBES
@pytest.mark.case("A-355")
async def test_probes_and_metrics_take_get_and_head_only(local, path):
    local.health.opened()

    head = await local.ask(path, method=b"HEAD")
    assert (head.status, head.body) == (200, b"")
    for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"):
        refused = await local.ask(path, method=method)
        assert (refused.status, refused.code) == (405, "method_not_allowed")
        assert refused.values(b"allow") == [b"GET, HEAD"]


@PROBES
@pytest.mark.case("A-356")
async def test_probes_and_metrics_reflect_nothing(local, path):
    for target in (path + b"?canary-q=<script>", path + b"/canary-p"):
        response = await local.ask(target, b"X-Canary: canary-f", b"Accept: canary/a", b"User-Agent: canary-u")
        raw = b"".join(name + value for name, value in response.fields) + response.body
        assert b"canary" not in raw


@pytest.mark.case("A-357")
async def test_readiness_follows_the_proxy_while_liveness_does_not(local):
    local.running.statuses["crm"] = ConnectionStatus("crm", state="none", required=True, prefetch=True)
    assert [(await local.ask(p)).status for p in (b"/livez", b"/startupz", b"/readyz")] == [200, 503, 503]

    local.health.opened()
    verbose = await local.ask(b"/readyz?verbose")
    assert (verbose.status, verbose.body) == (503, b"listeners open\ncrm none (awaited)\n")
    await local.running.renew("crm")
    assert [(await local.ask(p)).status for p in (b"/livez", b"/startupz", b"/readyz")] == [200, 200, 200]
    verbose = await local.ask(b"/readyz?verbose")
    assert (verbose.status, verbose.body) == (200, b"listeners open\ncrm valid\n")

    local.health.drain()
    assert [(await local.ask(p)).status for p in (b"/livez", b"/startupz", b"/readyz")] == [200, 200, 503]


async def test_the_api_lists_every_connection(local):
    local.running.statuses.update(crm=CRM, plain=ConnectionStatus("plain"))

    response = await local.ask(b"/api/connections")

    assert response.values(b"content-type") == [b"application/json"]
    crm, plain = json.loads(response.body)
    assert crm == {
        "name": "crm",
        "iclient": "acme",
        "grant_type": "client_credentials",
        "state": "backoff",
        "expires_at": "2026-01-02T03:04:05Z",
        "last_renewal_at": "2026-01-02T02:04:05Z",
        "last_error": "transport",
        "next_action": "renew",
        "next_attempt_at": "2026-01-02T03:04:06Z",
        "redirect_url": None,
        "authorize_url": None,
    }
    assert (plain["name"], plain["state"], plain["expires_at"]) == ("plain", "not_applicable", None)


async def test_a_renewal_is_done_when_the_answer_comes(local):
    local.running.statuses["crm"] = CRM

    response = await local.ask(b"/api/connections/crm/renew", method=b"POST")

    assert local.running.renewed == ["crm"]
    assert (response.status, json.loads(response.body)["state"]) == (200, "valid")


async def test_a_renewal_that_fails_answers_with_its_reason(local):
    local.running.statuses["broken"] = ConnectionStatus("broken", state="braked")

    response = await local.ask(b"/api/connections/broken/renew", method=b"POST")

    assert (response.status, response.code) == (503, "client_rejected")
    assert response.problem()["connection"] == "broken"
    assert response.values(b"retry-after") == [b"300"]


@pytest.mark.parametrize("name", [b"plain", b"nobody", b"%63rm", b"../crm", b"CRM"])
async def test_only_a_connection_with_a_token_is_renewed(local, name):
    local.running.statuses.update(crm=CRM, plain=ConnectionStatus("plain"))

    response = await local.ask(b"/api/connections/" + name + b"/renew", method=b"POST")

    assert (response.status, response.code) == (404, "no_route")
    assert local.running.renewed == []


async def test_quitquitquit_takes_the_post_of_a_program(local):
    assert (await local.ask(b"/quitquitquit")).status == 405
    assert (await local.ask(b"/quitquitquit", b"Origin: http://localhost", method=b"POST")).code == "cross_site"
    assert (await local.ask(b"/quitquitquit", method=b"POST", host=b"attacker.example")).code == "misdirected_request"
    assert local.running.quits == 0

    response = await local.ask(b"/quitquitquit", method=b"POST")
    assert (response.status, response.body, local.running.quits) == (200, b"draining\n", 1)


async def test_a_post_with_a_body_of_json_is_answered_and_the_stream_goes_on(local):
    client = await Client.connect(local.address)
    head = b"POST /quitquitquit HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    post = head + b"Content-Length: 2\r\n\r\n{}"

    assert [(await client.ask(post)).status, (await client.ask(post)).status] == [200, 200]
    assert local.running.quits == 2
    await client.close()


@pytest.mark.case("A-347")
async def test_from_another_machine_only_probes_answer_without_the_credential(admin):
    own = own_address()
    await admin.start(bind="0.0.0.0", auth=Secret("canary-admin-credential"), allowed_hosts=("pod.example",))
    from_outside = (own, admin.address[1])

    for target in (b"/api/connections", b"/", b"/quitquitquit", b"/nothing"):
        refused = await admin.ask(target, address=from_outside)
        assert (refused.status, refused.code) == (403, "admin_forbidden")
    assert (await admin.ask(b"/livez", address=from_outside)).status == 200
    bearer = b"Authorization: Bearer canary-admin-credential"
    assert (await admin.ask(b"/api/connections", bearer, address=from_outside, host=b"pod.example")).status == 200
    assert (await admin.ask(b"/api/connections", bearer, address=from_outside, host=own.encode())).status == 200
    misdirected = await admin.ask(b"/api/connections", bearer, address=from_outside, host=b"attacker.example")
    assert misdirected.code == "misdirected_request"


@pytest.mark.case("A-348")
async def test_a_rebound_name_reaches_nothing(local):
    local.running.statuses["crm"] = CRM

    for method, target in ((b"GET", b"/api/connections"), (b"POST", b"/api/connections/crm/renew"), (b"GET", b"/")):
        refused = await local.ask(target, method=method, host=b"attacker.example:7489")
        assert (refused.status, refused.code) == (421, "misdirected_request")
    assert local.running.renewed == []


@pytest.mark.case("A-351")
async def test_a_preflight_gets_no_permission(local):
    preflight = (b"Origin: https://evil.example", b"Access-Control-Request-Method: POST", b"Sec-Fetch-Mode: cors")

    refused = await local.ask(b"/api/connections", *preflight, method=b"OPTIONS")

    assert (refused.status, refused.code) == (403, "cross_site")
    assert not [name for name, _ in refused.fields if name.lower().startswith(b"access-control-")]


@pytest.mark.case("A-355")
@pytest.mark.parametrize(
    "target",
    [
        b"/static/../../etc/passwd", b"/..%2f..%2fetc/passwd", b"/livez/", b"/livez/..", b"//livez", b"/LIVEZ",
        b"/%6civez", b"/api", b"/api/connections/", b"/api/connections/crm",
        b"/" + b"x" * 4000,
    ],
)  # fmt: skip
async def test_what_is_not_there_is_said_to_be_not_there_and_what_is_there_is_named(local, target):
    missing = await local.ask(target)

    assert (missing.status, missing.code) == (404, "no_route")
    assert "/api/connections" in missing.problem()["detail"]


@pytest.mark.case("A-355", "A-356")
@pytest.mark.parametrize(
    "raw",
    [
        b"GET /livez?canary HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX canary: 1\r\n\r\n",
        b"canary /livez HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX: canary\x00\r\n\r\n",
        b"GET /" + b"canary" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://localhost/livez?canary HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00canary\r\n\r\n",
    ],
)
async def test_a_malformed_request_gets_an_answer_that_does_not_quote_it(local, raw):
    client = await Client.connect(local.address)

    response = await client.ask(raw)

    assert (response.status, response.code) == (400, "bad_request")
    assert b"canary" not in response.body
    await client.close()


async def test_a_page_that_fails_says_so_and_nothing_more(local):
    local.failure = ValueError("canary-detail")

    response = await local.ask(b"/metrics", b"Accept: text/html")

    assert (response.status, response.code) == (500, "internal_error")
    assert b"canary" not in response.body


async def test_metrics_are_asked_for_in_the_format_the_scraper_takes(local):
    response = await local.ask(b"/metrics", b"Accept: application/openmetrics-text")

    assert local.accepted == ["application/openmetrics-text"]
    assert response.values(b"content-type") == [b"text/plain; version=0.0.4; charset=utf-8"]
    assert response.body == b"# HELP x x\nx 1\n"
    assert response.complete


@pytest.mark.case("A-358")
async def test_at_most_four_scrapes_run_at_once_and_the_fifth_is_told_to_come_again(local):
    local.gate.clear()
    four = [asyncio.create_task(local.ask(b"/metrics"), name=f"scrape {number}") for number in range(4)]
    await eventually("four scrapes", lambda: local.scraping == 4)

    fifth = await local.ask(b"/metrics")
    assert (fifth.status, fifth.code, fifth.values(b"retry-after")) == (503, "overloaded", [b"1"])
    assert (await local.ask(b"/livez")).status == 200

    local.gate.set()
    assert [(await scrape).status for scrape in four] == [200] * 4
    assert (await local.ask(b"/metrics")).status == 200


@pytest.mark.case("A-358")
async def test_who_reads_a_scrape_too_slowly_is_cut_off(admin):
    admin.pieces = [b"x" * 65536] * 1000
    await admin.start(scrape_seconds=0.05)
    slow = [await Client.connect(admin.address, receive_buffer=4096) for _ in range(4)]
    for client in slow:
        await client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.read_until(b"\r\n\r\n")
    admin.pieces = [b"x 1\n"]

    async def there_is_room():
        return (await admin.ask(b"/metrics")).status == 200

    await eventually("room for another scrape", there_is_room)
    for client in slow:
        assert len(await client.read_rest()) < 65536 * 1000
        await client.close()


async def test_a_unix_socket_is_served_and_removed_at_the_end(admin, tmp_path):
    path = tmp_path / "admin.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    await admin.start(sock=sock)

    assert (await admin.ask(b"/api/connections")).status == 200
    assert (await admin.ask(b"/api/connections", host=b"attacker.example")).code == "misdirected_request"
    await admin.server.close()
    assert not path.exists()


async def test_closing_ends_idle_streams_and_frees_the_port(admin):
    await admin.start()
    client = await Client.connect(admin.address)
    await client.ask(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")

    await admin.server.close()

    assert await client.is_closed()
    with socket.create_server(("127.0.0.1", admin.address[1])) as again:
        assert again.getsockname() == admin.address
    await client.close()
