"""Streams to the upstream: reused when safe, replaced when nothing was written, and never a hidden truncation."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.support.deadline import awaiting
from tests.support.scripts import OK_BODY, replies, replies_early, replies_then_fin, replies_then_resets, response
from tests.support.stage import Case
from tests.support.upstream import Request, reset

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTHORITY = trustme.CA()
OTHER_AUTHORITY = trustme.CA()
TRUST = {"tls": {"ca": AUTHORITY.cert_pem.bytes().decode()}}
AT_LOCALHOST = "https://localhost:PORT"
SETTINGS = {"allow_inline_secrets": True}  # for the key of a client certificate that is made here


def server_tls(name: str = "localhost", authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def over_tls(context: ssl.SSLContext) -> pytest.MarkDecorator:
    """Give the test's own upstream a certificate."""
    return pytest.mark.parametrize("case", [pytest.param(context, id="tls")], indirect=True)


@pytest.mark.case("P-219")
async def test_a_stream_is_reused_for_the_next_request(case: Case):
    client = await case.warm()
    assert (await client.ask(case.request())).status == 200
    assert (await case.ask(case.request(b"Content-Length: 2", method=b"POST", body=b"hi"))).status == 200
    assert [request.stream.number for request in case.upstream.requests] == [1, 1]


@pytest.mark.case("P-219", "P-220")
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_pooled_stream_that_the_upstream_closed_is_replaced_without_a_trace(case: Case, method: bytes):
    client = await case.warm()
    [stream] = case.upstream.streams
    stream.transport.write_eof()
    async with awaiting("the proxy's own FIN"):
        await stream.lost.wait()
    answered = await client.ask(case.request(b"Content-Length: 5", method=method, body=b"hello"))
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert [(request.method, request.body, request.stream.number) for request in case.upstream.requests] == [
        (method, b"hello", 2)
    ]


@pytest.mark.case("P-216", "P-219", "P-220")
@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("meanwhile", ["fin", "reset", "bytes"])
async def test_a_stream_that_ended_just_before_the_request_is_written_is_replaced(
    case: Case, method: bytes, meanwhile: str
):
    client = await case.warm()
    [stream] = case.upstream.streams
    async with case.stage.process.frozen():  # so that it meets the request first, with the end already in the socket
        await client.send(case.request(b"Content-Length: 5", method=method, body=b"hello"))
        match meanwhile:
            case "fin":
                stream.transport.close()
                await stream.lost.wait()
            case "reset":
                reset(stream.transport)
                await stream.lost.wait()
            case _:
                await stream.write(response(b"poison"))
    answered = await client.response(method.decode())
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert [(request.body, request.stream.number) for request in case.upstream.requests] == [(b"hello", 2)]


@pytest.mark.case("P-219", "P-220")
@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_a_request_that_may_have_been_processed_is_never_sent_again(case: Case, method: bytes, end: str):
    client = await case.warm()
    case.upstream.answers(replies_then_fin() if end == "fin" else replies_then_resets())
    refused = await client.ask(case.request(b"Content-Length: 5", method=method, body=b"hello"))
    assert (refused.status, refused.code) == (502, "upstream_reset")
    assert [request.stream.number for request in case.upstream.requests] == [1]


@pytest.mark.case("P-220", "P-223")
@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_a_fresh_stream_that_ends_without_a_byte_is_an_error(case: Case, end: str):
    case.upstream.answers(replies_then_fin() if end == "fin" else replies_then_resets())
    client = await case.connect()
    refused = await client.ask(case.request())
    assert (refused.status, refused.code) == (502, "upstream_reset")
    assert not refused.closes
    assert case.upstream_requests == 1


@pytest.mark.case("P-223")
@pytest.mark.parametrize("begun", [b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nContent-Le"])
@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_a_response_head_that_breaks_off_is_an_error(case: Case, begun: bytes, end: str):
    case.upstream.answers(replies_then_fin(begun) if end == "fin" else replies_then_resets(begun))
    refused = await case.ask(case.request())
    assert (refused.status, refused.code) in {(502, "upstream_reset"), (502, "upstream_protocol_error")}
    assert case.upstream_requests == 1


@pytest.mark.case("P-221")
@pytest.mark.parametrize(
    ("told", "streams"), [(b"timeout=1", [1, 2]), (b"timeout=60", [1, 1]), (b"timeout=60, max=5", [1, 1])]
)
async def test_the_upstreams_keep_alive_timeout_is_kept_clear_of(case: Case, told: bytes, streams: list[int]):
    case.upstream.answers(replies(response(OK_BODY, b"Connection: keep-alive", b"Keep-Alive: " + told)))
    client = await case.connect()
    for _ in range(2):
        assert (await client.ask(case.request())).status == 200
    assert [request.stream.number for request in case.upstream.requests] == streams


@pytest.mark.case("P-221")
async def test_an_upstream_that_closes_after_each_response_costs_no_request(case: Case):
    case.upstream.always(replies_then_fin(response(OK_BODY, b"Connection: close")))
    client = await case.connect()
    for _ in range(50):
        answered = await client.ask(case.request(b"Content-Length: 2", method=b"POST", body=b"hi"))
        assert (answered.status, answered.body) == (200, OK_BODY)
    assert case.upstream_requests == 50


@pytest.mark.case("P-222")
async def test_an_upstream_that_is_not_there_is_an_error(case: Case):
    case.upstream.shut()
    client = await case.connect()
    refused = await client.ask(case.request())
    assert (refused.status, refused.code) == (502, "upstream_refused")
    assert not refused.closes
    await case.upstream.reopen()


@pytest.mark.case("P-222")
@pytest.mark.connection(base_url="http://localhost:PORT")
async def test_another_address_of_the_same_name_is_tried(case: Case):
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == (200, OK_BODY)
    assert case.upstream.requests[0].values(b"host") == [b"localhost:%d" % case.upstream.port]


@pytest.mark.case("P-222")
@pytest.mark.connection(base_url=AT_LOCALHOST, **TRUST)
@over_tls(server_tls())
async def test_an_upstream_over_tls_is_verified_and_served(case: Case):
    client = await case.connect()
    for _ in range(2):
        answered = await client.ask(case.request())
        assert (answered.status, answered.body) == (200, OK_BODY)
    assert [request.stream.number for request in case.upstream.requests] == [1, 1]


def demanding_tls() -> ssl.SSLContext:
    context = server_tls()
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


CLIENT = AUTHORITY.issue_cert("the-client.example")
WITH_CERTIFICATE = {
    "tls": {
        **TRUST["tls"],
        "client_cert": CLIENT.cert_chain_pems[0].bytes().decode(),
        "client_key": CLIENT.private_key_pem.bytes().decode(),
    }
}


@pytest.mark.connection(base_url=AT_LOCALHOST, **WITH_CERTIFICATE)
@over_tls(demanding_tls())
async def test_an_upstream_that_demands_a_certificate_gets_the_connections_own(case: Case):
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == (200, OK_BODY)
    [stream] = case.upstream.streams
    certificate = stream.transport.get_extra_info("ssl_object").getpeercert()
    assert ("DNS", "the-client.example") in certificate["subjectAltName"]


@pytest.mark.connection(
    base_url="{{{connection.token.fields.instance_url}}}/v{{{connection.token.fields.version}}}",
    hosts=["localhost"],
    headers={"X-Team": "{{{uppercase connection.token.fields.team}}}"},
    **TRUST,
)
@over_tls(server_tls())
async def test_the_token_answer_may_say_where_the_upstream_is(case: Case):
    instance = f"https://localhost:{case.upstream.port}"
    case.stage.tokens.members[case.name] = {"instance_url": instance, "version": 59, "team": "blue"}
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == (200, OK_BODY)
    [request] = case.upstream.requests
    assert (request.target, request.values(b"x-team"), request.token) == (b"/v59/x", [b"BLUE"], case.token())


@pytest.mark.connection(base_url=AT_LOCALHOST, **TRUST)
@over_tls(server_tls())
async def test_the_second_stream_resumes_the_tls_session_of_the_first(case: Case):
    client = await case.warm()
    [stream] = case.upstream.streams
    stream.transport.close()
    async with awaiting("the proxy's own FIN"):
        await stream.lost.wait()
    assert (await client.ask(case.request())).status == 200
    first, second = (one.transport.get_extra_info("ssl_object") for one in case.upstream.streams)
    assert (first.session_reused, second.session_reused) == (False, True)


class TestCertificates:
    """The good request of every other test can't be had here: nothing passes this upstream's certificate."""

    @pytest.mark.case("P-222")
    @pytest.mark.connection(base_url=AT_LOCALHOST, **TRUST)
    @pytest.mark.parametrize(
        "failing_case",
        [
            pytest.param(server_tls("wrong.example"), id="wrong-name"),
            pytest.param(server_tls(authority=OTHER_AUTHORITY), id="unknown-authority"),
        ],
        indirect=True,
    )
    async def test_a_certificate_that_does_not_verify_gets_no_byte_of_the_request(self, failing_case: Case):
        refused = await failing_case.ask(failing_case.request())
        assert (refused.status, refused.code) == (502, "tls_certificate_error")
        assert failing_case.upstream_requests == 0

    @pytest.mark.case("P-222")
    @pytest.mark.connection(base_url=AT_LOCALHOST, **TRUST)
    @pytest.mark.parametrize("failing_case", [pytest.param(None, id="plain-text")], indirect=True)
    async def test_an_upstream_that_does_not_speak_tls_is_an_error(self, failing_case: Case):
        async def never(request: Request) -> None:
            raise AssertionError(request.head)

        failing_case.upstream.always(never)
        failing_case.upstream.greeting = b"SSH-2.0-OpenSSH_9.2\r\n"
        refused = await failing_case.ask(failing_case.request())
        assert (refused.status, refused.code) == (502, "tls_protocol_error")
        assert failing_case.upstream_requests == 0

    @pytest.mark.case("P-222")
    @pytest.mark.connection(base_url="https://no-such-host.invalid")
    @pytest.mark.parametrize("failing_case", [pytest.param(None, id="plain-text")], indirect=True)
    async def test_a_name_that_does_not_resolve_is_an_error(self, failing_case: Case):
        refused = await failing_case.ask(failing_case.request())
        assert (refused.status, refused.code) in {(502, "dns_error"), (504, "dns_timeout")}
        assert failing_case.upstream_requests == 0


TRUNCATED = {
    "P-224-length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "P-225-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "P-225-chunk-cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhello",
    "P-225-no-last-line": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
}


@pytest.mark.case("P-224", "P-225")
@pytest.mark.parametrize("raw", [pytest.param(raw, id=name) for name, raw in TRUNCATED.items()])
@pytest.mark.parametrize("ends", [replies_then_fin, replies_then_resets], ids=["fin", "reset"])
async def test_a_truncated_body_is_truncated_for_the_client_too(case: Case, raw: bytes, ends: Callable[..., object]):
    gate = asyncio.Event()
    case.upstream.answers(ends(raw, gate))  # type: ignore[arg-type]
    client = await case.connect()
    await client.send(case.request())
    received = await client.read_until(b"hello")
    gate.set()
    received += await client.read_rest()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not received.endswith(b"0\r\n\r\n")
    begun = raw.partition(b"\r\n\r\n")[2]
    assert begun.startswith(received.partition(b"\r\n\r\n")[2])


@pytest.mark.case("P-226")
async def test_a_body_that_ends_with_the_stream_but_in_a_reset_is_aborted(case: Case):
    gate = asyncio.Event()
    case.upstream.answers(replies_then_resets(b"HTTP/1.1 200 OK\r\n\r\nhello", gate))
    client = await case.connect()
    await client.send(case.request())
    received = await client.read_until(b"hello")
    gate.set()
    received += await client.read_rest()
    assert b"0\r\n\r\n" not in received
    # Close-delimited as it is passed on, only a reset tells the client that something is missing.
    assert client.was_reset


@pytest.mark.case("P-227")
async def test_a_body_that_ends_with_the_stream_is_passed_on_that_way(case: Case):
    case.upstream.answers(replies_then_fin(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"))
    client = await case.connect()
    await client.send(case.request())
    head, _, body = (await client.read_rest()).partition(b"\r\n\r\n")
    assert body == b"hello"
    assert b"\r\nConnection: close" in head
    assert b"transfer-encoding" not in head.lower()
    assert not client.was_reset


@pytest.mark.case("P-227")
@pytest.mark.connection(base_url=AT_LOCALHOST, **TRUST)
@over_tls(server_tls())
@pytest.mark.parametrize("close_notify", [True, False], ids=["close-notify", "no-close-notify"])
async def test_over_tls_the_end_of_a_stream_counts_only_when_tls_says_so(case: Case, close_notify: bool):
    raw = b"HTTP/1.1 200 OK\r\n\r\nhello"
    case.upstream.answers(replies_then_fin(raw, close_notify=close_notify))
    client = await case.connect()
    await client.send(case.request())
    received = await client.read_rest()
    if close_notify:
        assert received.endswith(b"\r\n\r\nhello")
        assert not client.was_reset
    else:
        assert received.startswith(b"HTTP/1.1 502 ") or client.was_reset
    assert case.upstream_requests == 1


@pytest.mark.case("P-227")
@pytest.mark.connection(base_url=AT_LOCALHOST, **TRUST)
@over_tls(server_tls())
async def test_over_tls_a_complete_body_needs_no_goodbye(case: Case):
    case.upstream.answers(replies_then_fin(response(), close_notify=False))
    answered = await case.ask(case.request())
    assert (answered.status, answered.body) == (200, OK_BODY)


@pytest.mark.case("P-231")
@pytest.mark.parametrize("garbage", [b"ZZ\r\n", b"5 \r\n", b"\r\n", b"-1\r\n", b"5\nhello"])
async def test_garbage_after_a_good_chunk_aborts_at_once(case: Case, garbage: bytes):
    gate = asyncio.Event()

    async def spoiled(request: Request) -> None:
        request.finished = True
        await request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", gate, garbage)
        await request.gone()  # no FIN of ours: the garbage alone has to end it

    case.upstream.answers(spoiled)
    client = await case.connect()
    await client.send(case.request())
    received = await client.read_until(b"hello\r\n")
    gate.set()
    received += await client.read_rest()
    assert received.endswith(b"5\r\nhello\r\n")
    async with awaiting("the end of the upstream stream"):
        await case.upstream.requests[0].gone()


@pytest.mark.case("P-232", "P-419")
@pytest.mark.parametrize("status", [b"200 OK", b"413 Content Too Large", b"403 Forbidden"])
@pytest.mark.parametrize("then", ["reads-on", "stops-reading", "resets"])
async def test_a_response_before_the_end_of_the_upload_is_delivered(case: Case, status: bytes, then: str):
    async def early(request: Request) -> None:
        if then == "stops-reading":
            request.stream.transport.pause_reading()
        await request.send(response(b"early", status=status))
        if then == "resets":
            request.finished = True
            await delivered.wait()
            request.reset()
        elif then == "stops-reading":
            request.finished = True
            await request.stream.lost.wait()

    delivered = asyncio.Event()
    case.upstream.answers(early)
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 1000000", method=b"POST", body=b"x" * 1000))
    answered = await client.response("POST")
    delivered.set()
    assert (answered.status, answered.body, answered.complete) == (int(status[:3]), b"early", True)
    assert case.upstream_requests == 1
    client.reset()
    case.upstream.streams[0].transport.abort()


@pytest.mark.case("P-232")
async def test_a_reset_right_behind_an_early_response_does_not_lose_it(case: Case):
    arrived = asyncio.Event()

    async def unread(request: Request) -> None:
        request.finished = True
        await request.stream.until_size(1000)
        request.stream.transport.pause_reading()
        arrived.set()
        await request.stream.lost.wait()

    case.upstream.answers(unread)
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 1000000", method=b"POST", body=b"x" * 1000))
    async with awaiting("the beginning of the upload"):
        await arrived.wait()
    [stream] = case.upstream.streams
    await client.send(b"y" * 1000)
    async with case.stage.process.frozen():  # so that it writes more of the upload before it reads
        await client.send(b"z" * 1000)
        await stream.write(response(b"early", status=b"413 Content Too Large"))
        reset(stream.transport)
        await stream.lost.wait()
    answered = await client.response("POST")
    assert (answered.status, answered.body) == (413, b"early")
    assert case.upstream_requests == 1


@pytest.mark.case("P-419")
async def test_after_an_early_response_no_other_request_meets_the_rest_of_the_upload(case: Case):
    case.upstream.answers(replies_early(response(b"early")))
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 10", method=b"POST", body=b"01234"))
    answered = await client.response("POST")
    assert (answered.status, answered.body) == (200, b"early")
    other = await case.ask(case.request(target=b"/other"))
    assert (other.status, other.body) == (200, OK_BODY)
    assert case.upstream.requests[1].line == b"GET /other HTTP/1.1"
    assert case.upstream.requests[1].stream.number == 2


@pytest.mark.case("P-419")
async def test_a_stream_is_free_again_when_the_upload_ends_after_an_early_response(case: Case):
    case.upstream.answers(replies_early(response(b"early")))
    client = await case.connect()
    await client.send(case.request(b"Content-Length: 10", method=b"POST", body=b"01234"))
    answered = await client.response("POST")
    assert answered.body == b"early"
    if not answered.closes:
        await client.send(b"56789")
        assert (await client.ask(case.request(target=b"/next"))).body == OK_BODY
        assert case.upstream.requests[-1].line == b"GET /next HTTP/1.1"
    assert case.upstream.malformed == []
