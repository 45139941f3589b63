"""Interception: TLS to a claimed host ends at the proxy, and what is inside gets its token."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.deadline import awaiting
from tests.support.interception import (
    STRANGER,
    TRUST,
    UPSTREAM,
    LocalAuthority,
    at,
    connect,
    connected,
    demanding_tls,
    dialled,
    listeners,
    server_tls,
)
from tests.support.scripts import OK_BODY, echoes, replies, response, stalls
from tests.support.stage import Case

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.client import Client, Response

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTHORITY = LocalAuthority("localhost", "127.0.0.1")
CLIENT = UPSTREAM.issue_cert("client@example.com")
AT = pytest.mark.connection(base_url="https://localhost:PORT", tls=TRUST)
OVER_TLS = pytest.mark.parametrize("case", [pytest.param(server_tls(), id="tls")], indirect=True)


def SETTINGS(folder: Path) -> dict[str, Any]:  # noqa: N802 it stands where the other modules have a mapping
    # Inline is the key of a client certificate that is made here.
    return {"allow_inline_secrets": True, "listeners": listeners(intercept=AUTHORITY.write(folder))}


async def inside(case: Case, name: str | None = "localhost", tls: ssl.SSLContext | None = None) -> Client:
    """Return a stream on which TLS is spoken with the proxy."""
    client = await connected(case)
    await client.secure(tls or AUTHORITY.trusting(), name)
    return client


def request(
    case: Case, *fields: bytes, line: bytes = b"GET /x HTTP/1.1", host: bytes = b"", body: bytes = b""
) -> bytes:
    return case.raw(line, b"Host: " + (host or at(case)), *fields, body=body)


def refused(answered: Response) -> tuple[int, str]:
    return answered.status, answered.code


@AT
@OVER_TLS
async def test_a_request_inside_gets_its_token_and_reaches_the_upstream_over_tls_of_our_own(case: Case):
    client = await inside(case)

    answered = await client.ask(request(case, b"X-A: 1", line=b"GET /a//b/%7e?b=2&a=1 HTTP/1.1"))

    assert (answered.status, answered.body) == (200, OK_BODY)
    [seen] = case.upstream.requests
    assert seen.target == b"/a//b/%7e?b=2&a=1"
    assert seen.values(b"host") == [at(case)]
    assert seen.values(b"x-a") == [b"1"]
    assert seen.token == case.token()


@AT
@OVER_TLS
async def test_many_requests_use_one_stream_and_bodies_pass_both_ways(case: Case):
    client = await inside(case)
    large = os.urandom(300_000)
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    case.upstream.answers(replies(chunks), replies(response(large)))

    first = await client.ask(request(case, b"Content-Length: 5", line=b"POST /a HTTP/1.1", body=b"hello"))
    second = await client.ask(
        request(case, b"Transfer-Encoding: chunked", line=b"PUT /b HTTP/1.1", body=b"3\r\nabc\r\n0\r\n\r\n")
    )
    await client.send(request(case) + request(case))  # pipelined

    assert (first.body, second.body) == (b"onetwo", large)
    assert [(await client.response()).body for _ in range(2)] == [OK_BODY, OK_BODY]
    assert [each.body for each in case.upstream.requests[:2]] == [b"hello", b"abc"]
    assert case.token_requests == 1


@AT
@OVER_TLS
async def test_a_revoked_token_is_renewed_and_the_request_sent_again(case: Case):
    client = await inside(case)
    await client.ask(request(case))
    case.upstream.refused_tokens.add(case.token())

    answered = await client.ask(request(case, b"Content-Length: 5", line=b"POST /a HTTP/1.1", body=b"again"))

    assert (answered.status, answered.body) == (200, OK_BODY)
    assert [(each.body, each.token) for each in case.upstream.requests[1:]] == [
        (b"again", case.token()),
        (b"again", case.token(2)),
    ]


@AT
@OVER_TLS
async def test_what_the_client_sends_at_once_behind_its_connect_is_the_beginning_of_tls(case: Case):
    """A client that is in a hurry does not wait for our 200."""
    hello, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = AUTHORITY.trusting().wrap_bio(hello, out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    client = await case.connect(case.stage.process.listening["forward"][0])
    await client.send(connect(case) + out.read())
    await client.read_until(b"\r\n\r\n")

    async with awaiting("the handshake"):
        while True:
            hello.write(await client.read())
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                await client.send(out.read())
    session.write(request(case))
    await client.send(out.read())
    answer = b""
    while OK_BODY not in answer:
        hello.write(await client.read())
        try:
            while piece := session.read(1 << 14):
                answer += piece
        except ssl.SSLWantReadError:
            continue

    assert answer.startswith(b"HTTP/1.1 200 ")


@AT
@OVER_TLS
async def test_a_second_session_resumes_the_first(case: Case):
    context = AUTHORITY.trusting()
    reused = []
    session = None

    def ask() -> None:
        nonlocal session
        with dialled(case) as raw, context.wrap_socket(raw, server_hostname="localhost", session=session) as secured:
            secured.sendall(request(case, b"Connection: close"))
            while secured.recv(1 << 14):
                pass
            reused.append(secured.session_reused)
            session = secured.session

    for _ in range(2):
        await asyncio.to_thread(ask)

    assert reused == [False, True]


@AT
@OVER_TLS
async def test_a_websocket_is_a_tunnel_within_the_tunnel(case: Case):
    async def shake_hands(request: Any) -> None:
        await request.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfrom upstream"
        )
        await request.stream.until_size(11)
        await request.send(bytes(request.stream.buffer))
        request.fin()

    case.upstream.answers(shake_hands)
    client = await inside(case)

    await client.send(request(case, b"Connection: Upgrade", b"Upgrade: websocket"))
    answered = await client.response(upgrade=True)
    await client.send(b"from client")

    assert answered.status == 101
    assert await client.read_rest() == b"from upstreamfrom client"
    assert case.upstream.requests[0].token == case.token()


@AT
@OVER_TLS
async def test_a_client_that_says_goodbye_after_its_request_is_still_answered(case: Case):
    client = await inside(case)
    await client.send(request(case, b"Connection: close"))

    answered = await client.response()

    assert (answered.status, answered.body) == (200, OK_BODY)
    assert await client.is_closed()


@AT
@OVER_TLS
async def test_an_early_answer_is_read_whole_although_the_body_still_comes(case: Case):
    client = await inside(case)
    body = bytes(4 << 20)
    refusal = request(case, b"Expect: a miracle", b"Content-Length: %d" % len(body), line=b"POST /x HTTP/1.1")

    sending = asyncio.create_task(client.send(refusal, *(body[at : at + 65536] for at in range(0, len(body), 65536))))
    answered = await client.response()
    await asyncio.gather(sending, return_exceptions=True)

    assert refused(answered) == (417, "expectation_failed")
    assert case.upstream_requests == 0


@AT
@OVER_TLS
async def test_megabytes_pass_unchanged(case: Case):
    body = os.urandom(4 << 20)
    case.upstream.answers(echoes)
    client = await inside(case)

    await client.send(request(case, b"Content-Length: %d" % len(body), line=b"PUT /x HTTP/1.1", body=body))
    assert (await client.response()).body == body


@pytest.mark.connection(base_url="http://localhost:PORT")
async def test_a_download_waits_while_the_client_does_not_read(case: Case):
    size = 48 << 20
    case.upstream.answers(replies(response(bytes(size))))
    before = case.stage.process.resident_bytes()

    def begin() -> ssl.SSLSocket:
        secured = AUTHORITY.trusting().wrap_socket(dialled(case), server_hostname="localhost")
        secured.sendall(request(case, b"Connection: close"))
        assert secured.recv(4096).startswith(b"HTTP/1.1 200 ")
        return secured

    def read_rest(secured: ssl.SSLSocket) -> int:
        with secured:
            return sum(len(piece) for piece in iter(lambda: secured.recv(1 << 16), b""))

    secured = await asyncio.to_thread(begin)
    done = (await asyncio.wait([asyncio.create_task(case.upstream.requests[0].stream.flushed())], timeout=1.0))[0]
    held = case.stage.process.resident_bytes() - before

    assert await asyncio.to_thread(read_rest, secured) > size - 4096
    assert not done  # the upstream could not get rid of it, though the loopback takes a tenth of that time
    assert held < 8 << 20


@AT
@OVER_TLS
async def test_a_client_that_leaves_within_a_session_leaves_nothing_behind(case: Case):
    """The stage looks at open streams and files at its end."""
    gone = await inside(case)
    case.upstream.answers(stalls)
    await gone.send(request(case))
    arrived = await case.upstream.arrived()

    gone.reset()

    async with awaiting("the end of the upstream request"):
        await arrived.gone()
    assert case.upstream_requests == 1


@AT
@OVER_TLS
async def test_bytes_that_are_no_tls_within_a_session_end_it(case: Case):
    def spoil() -> bytes:
        with dialled(case) as raw:
            hello, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            session = AUTHORITY.trusting().wrap_bio(hello, out, server_hostname="localhost")
            while True:
                try:
                    session.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    raw.sendall(out.read())
                    hello.write(raw.recv(1 << 14))
            raw.sendall(out.read() + b"\x17\x03\x03\x00\x20" + b"nonsense" * 4)
            rest = b""
            with contextlib.suppress(ConnectionError):
                while piece := raw.recv(1 << 14):
                    rest += piece
            return rest

    await asyncio.to_thread(spoil)

    assert case.upstream_requests == 0


@AT
@OVER_TLS
@pytest.mark.case("F-260")
@pytest.mark.parametrize("name", ["other.example", "127.0.0.1.localhost", "evil.localhost"])
async def test_another_server_name_than_the_host_of_the_connect_gets_an_alert_and_nobody_is_dialled(
    case: Case, name: str
):
    client = await connected(case)

    with pytest.raises((ssl.SSLError, ConnectionError)) as raised:
        await client.secure(AUTHORITY.trusting(), name)

    assert getattr(raised.value, "reason", "") == "TLSV1_UNRECOGNIZED_NAME"
    assert (case.upstream_requests, len(case.upstream.streams), case.token_requests) == (0, 0, 0)


@AT
@OVER_TLS
async def test_no_server_name_is_fine(case: Case):
    context = AUTHORITY.trusting()
    context.check_hostname = False
    client = await inside(case, None, context)

    assert (await client.ask(request(case))).body == OK_BODY


@AT
@OVER_TLS
@pytest.mark.case("F-261")
@pytest.mark.parametrize(
    ("line", "host"),
    [
        (b"GET /x HTTP/1.1", b"evil.example"),
        (b"GET /x HTTP/1.1", b"localhost"),
        (b"GET /x HTTP/1.1", b"localhost:1"),
        (b"GET /x HTTP/1.1", b"127.0.0.1:PORT"),
        (b"GET https://evil.example/x HTTP/1.1", b"localhost:PORT"),
        (b"GET https://evil.example:PORT/x HTTP/1.1", b"localhost:PORT"),
        (b"GET https://localhost/x HTTP/1.1", b"localhost:PORT"),
        (b"GET https://localhost:PORT@evil.example/x HTTP/1.1", b"localhost:PORT"),
    ],
)
async def test_a_request_for_another_host_than_that_of_the_connect_is_misdirected(case: Case, line: bytes, host: bytes):
    client = await inside(case)
    port = b"%d" % case.upstream.port

    answered = await client.ask(request(case, line=line.replace(b"PORT", port), host=host.replace(b"PORT", port)))

    assert refused(answered) == (421, "misdirected_request")
    assert (case.upstream_requests, case.token_requests) == (0, 0)
    assert (await client.ask(request(case))).status == 200  # the stream itself is fine


@AT
@OVER_TLS
async def test_the_absolute_form_of_this_host_is_the_same_request(case: Case):
    client = await inside(case)

    answered = await client.ask(request(case, line=b"GET HTTPS://LOCALHOST:%d/a?b HTTP/1.1" % case.upstream.port))

    assert answered.status == 200
    assert case.upstream.requests[0].target == b"/a?b"


@AT
@OVER_TLS
@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        (b"CONNECT localhost:443 HTTP/1.1", 405, "method_not_allowed"),
        (b"TRACE /x HTTP/1.1", 405, "method_not_allowed"),
        (b"GET http://localhost/x HTTP/1.1", 400, "bad_request"),
        (b"GET * HTTP/1.1", 400, "bad_request"),
    ],
)
async def test_what_is_not_for_an_origin_is_refused_inside(case: Case, line: bytes, status: int, code: str):
    client = await inside(case)

    assert refused(await client.ask(request(case, line=line))) == (status, code)
    assert case.upstream_requests == 0


@AT
@OVER_TLS
@pytest.mark.case("F-262")
async def test_plain_http_where_tls_is_expected_is_400(case: Case):
    client = await connected(case)

    answered = await client.ask(request(case))

    assert refused(answered) == (400, "bad_request")
    assert await client.is_closed()
    assert case.upstream_requests == 0


@AT
@OVER_TLS
@pytest.mark.case("F-262")
@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + b"\x01\x00\x80" * 7 + b"x" * 16,  # a hello of SSLv2
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff",
        b"\x16\x03\x01\x00\x31\x01\x00\x00\x2d\x03\x01"
        + b"r" * 32
        + b"\x00\x00\x02\x00\x2f\x01\x00\x00\x02\x00\x00",  # 1.0
        b"\x16" + b"\xff" * 100,
    ],
    ids=["zeros", "ssl2", "cut-hello", "tls1.0", "odd-record"],
)
async def test_garbage_and_old_tls_get_an_alert_and_a_close(case: Case, garbage: bytes):
    client = await connected(case)

    await client.send(garbage)
    said = await client.read_rest()

    assert said[:1] == b"\x15"  # an alert
    assert said[5:6] == b"\x02"  # a fatal one
    assert not client.was_reset
    assert case.upstream_requests == 0


@AT
@OVER_TLS
@pytest.mark.case("F-262")
async def test_of_http_2_and_1_the_client_gets_http_1(case: Case):
    client = await inside(case, tls=AUTHORITY.trusting("h2", "http/1.1"))

    assert client.alpn == "http/1.1"
    assert (await client.ask(request(case))).status == 200


@AT
@OVER_TLS
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_that_does_not_trust_the_authority_is_told_of_once(case: Case, newest: ssl.TLSVersion):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = newest

    def try_it() -> None:
        with dialled(case) as raw, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(raw, server_hostname="localhost")

    for _ in range(2):
        await asyncio.to_thread(try_it)

    process = case.stage.process
    event = await process.until_logged("interception", host="localhost", outcome="certificate_refused")
    assert event["level"] == "warning"
    await inside(case)
    assert len(process.logged("interception")) == 1


class TestAnUpstreamThatCanNotBeTrusted:
    """What is wrong with the upstream is an answer inside: the TLS between the client and us is fine."""

    @AT
    @pytest.mark.case("F-263")
    @pytest.mark.parametrize(
        "failing_case",
        [
            pytest.param(server_tls("wrong.example"), id="wrong-name"),
            pytest.param(server_tls(issuer=STRANGER), id="unknown-authority"),
        ],
        indirect=True,
    )
    async def test_its_certificate_is_a_502_inside_the_tunnel(self, failing_case: Case):
        client = await inside(failing_case)

        answered = await client.ask(request(failing_case))

        assert refused(answered) == (502, "tls_certificate_error")
        assert failing_case.upstream_requests == 0

    @AT
    @pytest.mark.case("F-266")
    @pytest.mark.parametrize("failing_case", [pytest.param(demanding_tls(), id="demanding")], indirect=True)
    async def test_one_that_wants_a_certificate_which_is_not_defined_is_a_502_inside_the_tunnel(
        self, failing_case: Case
    ):
        """The client's own certificate could not be passed on: nothing is pretended."""
        client = await inside(failing_case)

        answered = await client.ask(request(failing_case))

        assert answered.status == 502
        assert failing_case.upstream_requests == 0


@pytest.mark.connection(
    base_url="https://localhost:PORT",
    tls={
        **TRUST,
        "client_cert": CLIENT.cert_chain_pems[0].bytes().decode(),
        "client_key": CLIENT.private_key_pem.bytes().decode(),
    },
)
@pytest.mark.case("F-266")
@pytest.mark.parametrize("case", [pytest.param(demanding_tls(), id="demanding")], indirect=True)
async def test_an_upstream_that_wants_a_certificate_gets_that_of_the_connection(case: Case):
    client = await inside(case)

    assert (await client.ask(request(case))).body == OK_BODY


@pytest.mark.connection(base_url="https://127.0.0.1:PORT", tls=TRUST)
@pytest.mark.parametrize("case", [pytest.param(server_tls("127.0.0.1"), id="tls")], indirect=True)
async def test_a_claimed_address_is_intercepted_like_a_name(case: Case):
    client = await connected(case, at(case, "127.0.0.1"))
    await client.secure(AUTHORITY.trusting(), "127.0.0.1")

    answered = await client.ask(request(case, host=at(case, "127.0.0.1")))

    assert answered.body == OK_BODY
    assert case.upstream.requests[0].token == case.token()


@AT
@OVER_TLS
@pytest.mark.case("F-265")
async def test_the_certificate_can_be_had_from_the_admin_listener_and_the_key_from_nowhere(case: Case):
    process = case.stage.process

    certificate = await process.admin_get("/ca.pem")

    assert (certificate.status, certificate.body.decode()) == (200, AUTHORITY.certificate)
    assert certificate.values(b"content-type") == [b"application/x-pem-file"]
    for path in ("/ca.key", "/key.pem", "/ca/key.pem", "/ca.pem/../key.pem", "/ca%2ekey"):
        assert (await process.admin_get(path)).status == 404, path
        proxied = await case.ask(case.raw(f"GET {path} HTTP/1.1".encode(), case.host))
        assert proxied.status in (400, 404), path
    inside_ = await (await inside(case)).ask(request(case, line=b"GET /ca.key HTTP/1.1"))
    assert inside_.body == OK_BODY  # the upstream's own business
