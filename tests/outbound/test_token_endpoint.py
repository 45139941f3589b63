"""The way to the token endpoint over real sockets: what is sent, what is accepted, what is cut off."""

import asyncio
import gzip
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
import uvloop
from cryptography import x509

from proxy.definitions.models import IClient, Tls
from proxy.definitions.settings import Limits
from proxy.definitions.templates.placeholders import literal
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.compose import TokenRequest
from proxy.oauth.failure import EndpointFault, Outcome
from proxy.oauth.material import Material
from proxy.oauth.request import own_grant
from proxy.oauth.response import Failure, read
from proxy.outbound.resolve import Resolver
from proxy.outbound.token_endpoint import TokenEndpoint, _context
from proxy.secret import Secret
from tests.oauth.answers import connection
from tests.support.authorization_server import AuthorizationServer, End, dripping, raw, respond, say
from tests.support.deadline import awaiting

OK = b'{"access_token": "t0", "expires_in": 60}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(OK) + OK
LIMITS = Limits(token_connect=5.0, token_total=10.0)
SHORT = Limits(token_connect=0.2, token_total=0.3)


def client_of(url, *domains, **settings):
    return IClient(
        name="acme",
        client_id=literal("app"),
        client_secret=Secret("canary-secret"),
        grant_type="client_credentials",
        client_auth="client_secret_basic",
        token_url=compile_url(url),
        valid_domains=domains,
        **{"allow_insecure": url.startswith("http:"), **settings},
    )


async def ask(url, *domains, limits=LIMITS, resolver=None, **settings):
    """Send one token request; return the token's text or the failure that the answer is."""
    client = client_of(url, *domains, **settings)
    endpoint = TokenEndpoint(client, limits, resolver or Resolver())
    async with awaiting("the end of a token request"):
        answer = await endpoint.send(own_grant(Material(connection(client), client, 1.8e9, bytes)))
    result = read(answer, client, limit=limits.token_answer, now=1.8e9)
    return result if isinstance(result, Failure) else result.access_token.reveal()


async def ask_server(server, **settings):
    return await ask(server.url, server.authority, **settings)


async def fault_of(server, **settings):
    """Return the code of the fault, and see to it that the stream is closed and the text gives nothing away."""
    with pytest.raises(EndpointFault) as raised:
        await ask_server(server, **settings)
    await server.is_quiet()
    assert "canary" not in str(raised.value)
    assert server.authority not in str(raised.value)
    return raised.value.code


@pytest.mark.case("T-405")
async def test_a_request_arrives_as_it_was_built_on_a_stream_of_its_own():
    async with AuthorizationServer() as server:
        assert await ask_server(server) == "token-1"
        assert await ask_server(server) == "token-2"

        first = server.asked[0]
        assert (first.method, first.target) == ("POST", "/token")
        assert first.form == {"grant_type": "client_credentials"}
        assert first.basic == "app:canary-secret"
        assert first.values("host") == [server.authority]
        assert first.values("connection") == ["close"]
        assert server.streams == server.T == 2


@pytest.mark.case("T-51")
async def test_a_refused_stream_is_a_transport_fault():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        authority = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(EndpointFault) as raised:
            await ask(f"http://{authority}/token", authority)

    assert (raised.value.outcome, raised.value.code) == (Outcome.TRANSPORT, "token_connect_failed")
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)


@pytest.mark.case("T-52")
async def test_an_address_that_swallows_packets_is_given_up(black_hole):
    authority = f"127.0.0.1:{black_hole}"

    with pytest.raises(EndpointFault) as raised:
        await ask(f"http://{authority}/token", authority, limits=Limits(token_connect=0.1, token_total=10.0))

    assert (raised.value.outcome, raised.value.code) == (Outcome.TIMEOUT, "token_connect_timeout")


async def test_the_next_address_is_tried_when_one_does_not_answer(black_hole):
    async with AuthorizationServer() as server:

        class Addresses:
            async def resolve(self, host, port):
                return ("::1", "127.0.0.1")

        assert (
            await ask(f"http://localhost:{server.port}/token", f"localhost:{server.port}", resolver=Addresses())
            == "token-1"
        )


@pytest.mark.case("T-53")
@pytest.mark.parametrize(("patience", "code"), [(0.1, "dns_timeout"), (5.0, "dns_timeout"), (None, "dns_error")])
async def test_a_name_that_does_not_resolve_says_whether_it_was_refused_or_slow(patience, code):
    stalled = threading.Event()

    def lookup(host, port, **_):
        if patience is not None:
            assert stalled.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    try:
        with pytest.raises(EndpointFault) as raised:
            await ask(
                "https://auth.example.com/token",
                "example.com",
                limits=SHORT,
                resolver=Resolver(lookup=lookup, patience=patience or 5.0),
            )
    finally:
        stalled.set()

    assert raised.value.code == code
    assert raised.value.outcome is (Outcome.TIMEOUT if code == "dns_timeout" else Outcome.TRANSPORT)


@pytest.mark.case("T-54")
async def test_a_server_that_never_answers_is_cut_off_in_all():
    async with AuthorizationServer(default=raw(End.STALL)) as server:
        assert await fault_of(server, limits=SHORT) == "token_endpoint_timeout"
        assert server.T == 1


@pytest.mark.case("T-55")
@pytest.mark.parametrize(
    "prefix", [b"", HEAD + b"Content-Length: 1000\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"]
)
async def test_a_body_that_drips_is_cut_off_in_all_and_not_for_each_read(prefix):
    drip = dripping(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1000, 0.02)

    async def answer(exchange):
        await exchange.write(prefix)
        await drip(exchange)

    async with AuthorizationServer(default=answer) as server:
        assert await fault_of(server, limits=SHORT) == "token_endpoint_timeout"


@pytest.mark.case("T-56")
async def test_a_reset_before_the_status_is_a_transport_fault():
    async with AuthorizationServer(default=raw(End.RESET)) as server:
        assert await fault_of(server) == "token_endpoint_reset"
        assert server.T == 1


@pytest.mark.case("T-56")
@pytest.mark.parametrize(
    "start",
    [
        HEAD + b"Content-Length: 900\r\n\r\n" + OK,
        HEAD + b"\r\n" + OK,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
async def test_a_reset_inside_the_body_never_makes_a_token(start):
    async with AuthorizationServer() as server:
        gate = asyncio.Event()
        server.script(raw(start, gate, End.RESET))
        asking = asyncio.create_task(fault_of(server), name="asking")
        await server.was_asked(1)
        gate.set()

        assert await asking in {"token_response_incomplete", "token_endpoint_reset"}
        assert server.T == 1


@pytest.mark.case("T-57")
@pytest.mark.parametrize(
    "start",
    [
        HEAD + b"Content-Length: %d\r\n\r\n" % (len(OK) + 1) + OK,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(OK) + OK + b"\r\n",
        HEAD + b"Content-Length: 100\r\n\r\n",
    ],
)
async def test_a_body_that_ends_early_is_incomplete_although_it_might_be_read(start):
    async with AuthorizationServer(default=raw(start, End.CLOSE)) as server:
        assert await fault_of(server) == "token_response_incomplete"


async def test_an_end_before_the_status_is_a_fault():
    async with AuthorizationServer(default=raw(End.CLOSE)) as server:
        assert await fault_of(server) == "token_endpoint_reset"


async def test_a_body_that_ends_with_its_stream_is_complete():
    async with AuthorizationServer(default=raw(HEAD + b"\r\n" + OK, End.CLOSE)) as server:
        assert await ask_server(server) == "t0"


async def test_a_chunked_body_is_put_together():
    pieces = b"".join(b"%x;ext=1\r\n%s\r\n" % (1, OK[n : n + 1]) for n in range(len(OK)))

    async with AuthorizationServer(
        default=raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\nT: x\r\n\r\n")
    ) as server:
        assert await ask_server(server) == "t0"


@pytest.mark.case("T-58")
@pytest.mark.parametrize("after", [(b"garbage",), (b"\0\r\n\r\nHTTP/1.1",), (WHOLE,), (End.RESET,), (b"x" * 300_000,)])
@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
async def test_what_follows_a_complete_answer_does_not_matter(after, close):
    whole = WHOLE.replace(b"\r\n", b"\r\n" + close, 1)

    async with AuthorizationServer() as server:
        if after == (End.RESET,):
            server.script(raw(whole, End.RESET))
        else:
            server.script(raw(whole + after[0], End.CLOSE))
        assert await ask_server(server) == "t0"
        await server.is_quiet()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\0\0\x04\0\0\0\0\0",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_fault_at_once(answer):
    async with AuthorizationServer(default=raw(answer, End.STALL)) as server:
        assert await fault_of(server) == "token_response_protocol"


# ----------------------------------------------------------------------------------------------------------------- TLS


async def ask_over_tls(context, authority, *, trusts=True, default=None, name="localhost"):
    async with AuthorizationServer(tls=context) as server:
        if default is not None:
            server.default = default
        try:
            return server, await ask(
                f"https://{name}:{server.port}/token",
                f"{name}:{server.port}",
                tls=Tls(ca=authority.pem) if trusts else Tls(),
            )
        except EndpointFault as fault:
            await server.is_quiet()
            return server, fault


async def test_a_certificate_of_a_trusted_authority_is_accepted(authority):
    _, result = await ask_over_tls(authority.server("localhost"), authority)

    assert result == "token-1"


async def test_a_certificate_for_an_address_is_accepted(authority):
    _, result = await ask_over_tls(authority.server("127.0.0.1"), authority, name="127.0.0.1")

    assert result == "token-1"


@pytest.mark.case("T-59")
@pytest.mark.parametrize("flaw", ["expired", "wrong host", "unknown authority", "SHA-1", "NUL in the name"])
async def test_a_server_that_can_not_be_trusted_sees_no_byte_of_a_credential(authority, flaw, tmp_path):
    match flaw:
        case "expired":
            context = authority.server("localhost", not_after=datetime.now(UTC) - timedelta(days=1))
        case "wrong host":
            context = authority.server("elsewhere.example")
        case "unknown authority":
            context = authority.stranger("localhost")
        case "SHA-1":
            context = authority.crafted([x509.DNSName("localhost")], tmp_path, digest="SHA-1")
        case _:
            context = authority.crafted([x509.DNSName("localhost\0.evil.example")], tmp_path)

    server, fault = await ask_over_tls(context, authority)

    assert isinstance(fault, EndpointFault)
    assert (fault.outcome, fault.code) == (Outcome.TRANSPORT, "tls_certificate_error")
    assert (server.T, server.application_bytes) == (0, 0)


@pytest.mark.case("T-59")
async def test_a_server_of_tls_1_0_sees_no_more_than_the_greeting():
    seen = bytearray()
    over = asyncio.Event()

    async def refuse(reader, writer):
        seen.extend(await reader.read(65536))
        writer.write(bytes.fromhex("15030100020246"))  # fatal alert, protocol_version: all that such a server can say
        with suppress(ConnectionError):
            seen.extend(await reader.read())
        writer.close()
        over.set()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with listener:
        authority = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        with pytest.raises(EndpointFault) as raised:
            await ask(f"https://{authority}/token", authority)
        async with awaiting("the end of the stream"):
            await over.wait()

    assert (raised.value.code, raised.value.reason) == ("tls_certificate_error", "TLSV1_ALERT_PROTOCOL_VERSION")
    assert seen[0] == 0x16
    assert len(seen) == 5 + int.from_bytes(seen[3:5], "big")


@pytest.mark.case("T-59")
async def test_the_crafted_certificates_fail_by_their_flaw_alone(authority, tmp_path):
    _, result = await ask_over_tls(authority.crafted([x509.DNSName("localhost")], tmp_path), authority)

    assert result == "token-1"


@pytest.mark.case("T-59")
async def test_an_authority_of_the_definitions_is_not_trusted_by_others(authority):
    server, fault = await ask_over_tls(authority.server("localhost"), authority, trusts=False)

    assert fault.code == "tls_certificate_error"
    assert server.application_bytes == 0


@pytest.mark.case("T-59")
async def test_an_end_without_close_notify_after_a_whole_body_is_success(authority):
    async def answer(exchange):
        await exchange.write(WHOLE)
        raw_socket = exchange.writer.transport.get_extra_info("socket")
        raw_socket.shutdown(socket.SHUT_WR)

    _, result = await ask_over_tls(authority.server("localhost"), authority, default=answer)

    assert result == "t0"


async def test_plain_http_behind_https_is_a_protocol_error():
    async with AuthorizationServer() as server:
        with pytest.raises(EndpointFault) as raised:
            await ask(f"https://localhost:{server.port}/token", f"localhost:{server.port}", limits=SHORT)

    assert raised.value.code in {"tls_protocol_error", "token_connect_timeout"}
    assert server.T == 0


# -------------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.case("T-72")
async def test_a_compressed_answer_is_read_although_identity_was_asked_for():
    async with AuthorizationServer(default=respond(200, gzip.compress(OK), content_encoding="gzip")) as server:
        assert await ask_server(server) == "t0"
        assert server.asked[0].values("accept-encoding") == ["identity"]


@pytest.mark.case("T-73")
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000000\r\n\r\n", b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n3b9aca00\r\n"]
)
async def test_a_body_without_end_is_cut_at_the_limit(framing):
    written = 0

    async def answer(exchange):
        nonlocal written
        await exchange.write(HEAD + framing)
        for _ in range(1000):
            if exchange.writer.is_closing():
                return
            await exchange.write(b"x" * 65536)
            written += 65536

    async with AuthorizationServer(default=answer) as server:
        assert await fault_of(server) == "token_response_too_large"
        # What lies in the buffers of the kernel was written, but nobody read it.
        assert written < 40 * 1024 * 1024


@pytest.mark.case("T-73")
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(1_000_000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"a" * 200_000 + b"\r\n\r\n",
    ],
    ids=["a million headers", "one long header", "a long reason"],
)
async def test_a_head_beyond_sixty_four_kibibytes_is_cut(head):
    async with AuthorizationServer(default=raw(head, End.STALL)) as server:
        assert await fault_of(server) == "token_response_too_large"


@pytest.mark.case("T-73")
async def test_a_gzip_bomb_is_cut_at_the_limit():
    bomb = gzip.compress(b" " * 50_000_000)

    async with AuthorizationServer(default=respond(200, bomb, content_encoding="gzip")) as server:
        result = await ask_server(server)

    assert result.code == "token_response_too_large"


async def test_a_head_just_below_the_bound_is_read():
    filling = b"".join(b"X: %s\r\n" % (b"a" * 995) for _ in range(64))

    async with AuthorizationServer(default=raw(WHOLE.replace(b"\r\n", b"\r\n" + filling, 1))) as server:
        assert await ask_server(server) == "t0"


@pytest.mark.case("T-77")
@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3,
        b"HTTP/1.1 102 Processing\r\n\r\n" * 16,
    ],
)
async def test_a_few_interim_answers_are_passed_over(interim):
    async with AuthorizationServer(default=raw(interim + WHOLE)) as server:
        assert await ask_server(server) == "t0"


@pytest.mark.case("T-77")
@pytest.mark.parametrize("times", [17, 20_000])
async def test_a_flood_of_interim_answers_is_a_failure(times):
    async with AuthorizationServer(
        default=raw(b"HTTP/1.1 102 Processing\r\n\r\n" * times + WHOLE, End.STALL)
    ) as server:
        assert await fault_of(server) == "token_response_protocol"


@pytest.mark.case("T-78")
@pytest.mark.parametrize("status", [200, 204])
async def test_an_empty_answer_is_read_as_such(status):
    async with AuthorizationServer(default=respond(status)) as server:
        assert (await ask_server(server)).code == "token_response_empty"


@pytest.mark.case("T-75", "T-76")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_anywhere(status):
    async with AuthorizationServer() as attacker, AuthorizationServer() as server:
        server.script(respond(status, location=attacker.url), respond(status, location="/token"))

        for _ in range(2):
            assert (await ask_server(server)).code == "token_endpoint_redirect"

        assert (server.T, server.streams) == (2, 2)
        assert (attacker.streams, attacker.T) == (0, 0)


@pytest.mark.case("T-410")
async def test_a_cookie_is_never_sent_back():
    async with AuthorizationServer(default=say(200, {"access_token": "t0"}, set_cookie="session=1; Path=/")) as server:
        await ask_server(server)
        await ask_server(server)

        assert [asked.values("cookie") for asked in server.asked] == [[], []]


async def test_settings_of_the_environment_lead_nowhere(monkeypatch):
    async with AuthorizationServer() as elsewhere, AuthorizationServer() as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{elsewhere.authority}")

        assert await ask_server(server) == "token-1"
        assert elsewhere.streams == 0


# ------------------------------------------------------------------------------------------------------------- domains


@pytest.mark.parametrize(
    ("url", "domains"),
    [
        ("https://auth.evil.example/token", ["example.com"]),
        ("https://example.com.evil.example/token", ["example.com"]),
        ("https://notexample.com/token", ["example.com"]),
        ("https://example.com:8443/token", ["example.com"]),
        ("http://example.com/token", ["example.com"]),
        ("https://169.254.169.254/token", ["169.254.169.254:443"]),
        ("https://user@example.com/token", ["example.com"]),
    ],
)
async def test_a_url_outside_the_valid_domains_is_not_even_looked_up(url, domains):
    class Never:
        async def resolve(self, host, port):
            raise AssertionError(host)

    client = client_of("https://example.com/token", *domains, allow_insecure=False)
    with pytest.raises(EndpointFault) as raised:
        await TokenEndpoint(client, LIMITS, Never()).send(TokenRequest("client_credentials", "POST", url, (), b""))

    assert (raised.value.code, raised.value.attempted) == ("url_outside_valid_domains", False)


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254"])
async def test_a_name_that_leads_to_a_metadata_service_is_refused(address):
    class Rebound:
        async def resolve(self, host, port):
            return (address,)

    with pytest.raises(EndpointFault) as raised:
        await ask("https://auth.example.com/token", "example.com", resolver=Rebound())

    assert raised.value.code == "metadata_address"


@pytest.mark.case("T-409")
@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.8", "::1", "192.168.1.1", "100.64.0.1"])
async def test_a_private_address_is_refused_where_a_value_chose_the_host(address):
    class Inside:
        async def resolve(self, host, port):
            return (address,)

    client = client_of("https://auth.example.com/token", "example.com")
    request = TokenRequest("client_credentials", "POST", "https://eu.example.com/", (), b"", host_from_placeholder=True)
    with pytest.raises(EndpointFault) as raised:
        await TokenEndpoint(client, LIMITS, Inside()).send(request)

    assert raised.value.code == "private_address"


async def test_two_ways_with_the_same_trust_share_one_context():
    assert _context(Tls()) is _context(Tls())


# -------------------------------------------------------------------------------------------------------------- uvloop


@pytest.mark.parametrize(
    ("story", "told"),
    [
        (test_a_request_arrives_as_it_was_built_on_a_stream_of_its_own, ()),
        (test_a_refused_stream_is_a_transport_fault, ()),
        (test_a_server_that_never_answers_is_cut_off_in_all, ()),
        (test_a_body_that_drips_is_cut_off_in_all_and_not_for_each_read, (b"",)),
        (test_a_reset_before_the_status_is_a_transport_fault, ()),
        (test_a_reset_inside_the_body_never_makes_a_token, (HEAD + b"\r\n" + OK,)),
        (test_a_body_that_ends_early_is_incomplete_although_it_might_be_read, (HEAD + b"Content-Length: 99\r\n\r\n",)),
        (test_a_body_that_ends_with_its_stream_is_complete, ()),
        (test_what_follows_a_complete_answer_does_not_matter, ((b"garbage",), b"")),
        (test_what_follows_a_complete_answer_does_not_matter, ((End.RESET,), b"")),
        (test_a_server_of_tls_1_0_sees_no_more_than_the_greeting, ()),
        (test_plain_http_behind_https_is_a_protocol_error, ()),
        (test_a_flood_of_interim_answers_is_a_failure, (20_000,)),
    ],
)
def test_the_same_on_the_loop_that_the_product_runs_on(story, told):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(story(*told)) is None


@pytest.mark.case("T-59")
@pytest.mark.parametrize("flaw", ["expired", "wrong host", "unknown authority", "NUL in the name"])
def test_trust_is_the_same_on_the_loop_that_the_product_runs_on(authority, flaw, tmp_path):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        checked = test_a_server_that_can_not_be_trusted_sees_no_byte_of_a_credential(authority, flaw, tmp_path)
        assert runner.run(checked) is None
        assert runner.run(test_an_end_without_close_notify_after_a_whole_body_is_success(authority)) is None
