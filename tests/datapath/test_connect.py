"""CONNECT to hosts that no connection claims: what is dialled, what is not, and a tunnel that passes everything on."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import suppress

import pytest
import pytest_asyncio

from tests.support.client import Client
from tests.support.deadline import awaiting, eventually, slowly
from tests.support.destination import Destination, Far
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "listeners": {
        "reverse": {"bind": "127.0.0.1:0"},
        "forward": {"bind": "127.0.0.1:0", "deny": ["127.0.0.66", "denied.example", "*.denied.example", "*:25"]},
        "admin": {"bind": "127.0.0.1:0"},
    }
}
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest_asyncio.fixture(loop_scope="module")
async def far_side():
    async with Destination() as destination:
        yield destination


def connect(authority: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"CONNECT " + authority + b" HTTP/1.1", b"Host: " + authority, *fields, b"", b""])


async def asked(case: Case, raw: bytes, **how: int) -> Client:
    client = await case.connect(case.stage.process.listening["forward"][0], **how)
    await client.send(raw)
    return client


async def tunnel(case: Case, destination: Destination, **how: int) -> tuple[Client, Far]:
    client = await asked(case, connect(destination.authority), **how)
    assert await client.read_until(b"\r\n\r\n") == ESTABLISHED
    return client, await destination.stream()


async def refusal(case: Case, raw: bytes) -> tuple[int, str]:
    """Ask for what must not pass; the stream is closed behind the answer."""
    client = await asked(case, raw)
    answered = await client.response()
    found = answered.status, answered.code
    assert answered.closes
    assert await client.is_closed()
    return found


async def no_tunnel(case: Case) -> None:
    async def none() -> bool:
        return await case.stage.process.metric("tunnels_open") == 0

    await eventually("no open tunnel", none)


@pytest.mark.case("F-246")
async def test_a_tunnel_passes_every_byte_both_ways(case: Case, far_side: Destination):
    client, far = await tunnel(case, far_side)
    up, down = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(3_000_000)
    far.write(down)
    sending = asyncio.create_task(client.send(up))

    assert await client.read_exactly(len(down)) == down
    assert await far.read_exactly(len(up)) == up
    await sending
    assert case.upstream_requests == case.token_requests == 0


@pytest.mark.case("F-255", "F-256")
async def test_an_application_that_resets_its_stream_is_noticed_while_the_destination_reads_nothing(
    case: Case, far_side: Destination
):
    client, _ = await tunnel(case, far_side)
    sending = asyncio.create_task(client.send(bytes(32 << 20)))
    async for _ in slowly(5, 0.1):  # until nothing moves any more
        pass
    client.reset()

    await no_tunnel(case)
    with suppress(ConnectionError):
        await sending
    assert await case.stage.process.metric("tunnels_open") == 0


async def test_a_tunnel_leaves_one_record_when_it_is_closed(case: Case, far_side: Destination):
    client, far = await tunnel(case, far_side)
    await client.send(b"12345")
    assert await far.read_exactly(5) == b"12345"
    far.write(b"123")
    client.half_close()
    assert await far.read_rest() == b""
    await far.close()
    assert await client.read_rest() == b"123"

    line = await case.stage.process.until_logged("exchange", method="CONNECT", path=far_side.authority.decode())
    assert (line["connection"], line["status"], line["bytes_in"], line["bytes_out"]) == ("-", 200, 5, 3)


@pytest.mark.case("F-252")
@pytest.mark.parametrize(
    "target", [b"127.0.0.1:0", b"127.0.0.1:99999", b"127.0.0.1", b"127.0.0.1:80/x", b"u@127.0.0.1:80", b"127.1:80"]
)
async def test_a_target_that_is_not_a_host_and_a_port_is_refused(case: Case, target: bytes):
    raw = b"CONNECT %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % target

    assert await refusal(case, raw) == (400, "bad_request")


@pytest.mark.case("F-246", "F-252")
@pytest.mark.parametrize("target", [b"127.0.0.1:25", b"127.0.0.66:443", b"denied.example:443", b"a.denied.example:22"])
async def test_what_the_operator_denies_is_not_dialled(case: Case, target: bytes):
    assert await refusal(case, connect(target)) == (403, "destination_prohibited")


@pytest.mark.case("F-246")
async def test_a_denied_address_sees_no_stream(case: Case):
    async with Destination("127.0.0.66") as denied:
        authority = b"127.0.0.66:%d" % denied.port

        assert await refusal(case, connect(authority)) == (403, "destination_prohibited")
        assert denied.accepted == 0


@pytest.mark.case("F-245", "F-247", "F-248")
@pytest.mark.parametrize(
    "target",
    [
        b"169.254.169.254:80",
        b"metadata.google.internal:80",
        b"168.63.129.16:80",
        b"0.0.0.0:80",
        b"224.0.0.1:80",
        b"[fd00:ec2::254]:80",
        b"[fe80::1]:80",
        b"[::]:80",
        b"[64:ff9b::a9fe:a9fe]:80",
    ],
)
async def test_no_tunnel_leads_to_metadata_or_to_an_address_of_nobody(case: Case, target: bytes):
    assert await refusal(case, connect(target)) == (403, "destination_prohibited")


@pytest.mark.case("F-245", "F-257")
@pytest.mark.parametrize("host", [b"127.0.0.1", b"127.0.0.9", b"localhost", b"[::1]", b"[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("listener", ["reverse", "forward", "admin"])
async def test_a_tunnel_to_a_listener_of_ours_is_a_loop(case: Case, host: bytes, listener: str):
    port = case.stage.process.listening[listener][0][1]

    assert await refusal(case, connect(b"%b:%d" % (host, port))) == (502, "proxy_loop_detected")


@pytest.mark.case("F-257")
@pytest.mark.parametrize("listener", ["reverse", "forward", "admin"])
async def test_a_plain_request_to_a_listener_of_ours_is_a_loop(case: Case, listener: str):
    port = case.stage.process.listening[listener][0][1]
    client = await asked(case, b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % port)
    answered = await client.response()

    assert (answered.status, answered.code) == (502, "proxy_loop_detected")


@pytest.mark.case("F-245")
async def test_a_plain_request_to_a_prohibited_address_is_refused(case: Case):
    client = await asked(case, b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\n\r\n")
    answered = await client.response()

    assert (answered.status, answered.code) == (403, "destination_prohibited")


@pytest.mark.case("F-254")
async def test_a_destination_that_refuses_is_an_answer_of_http(case: Case):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        authority = b"127.0.0.1:%d" % closed.getsockname()[1]

        assert await refusal(case, connect(authority)) == (502, "upstream_refused")


@pytest.mark.case("F-254")
async def test_a_name_that_nobody_has_is_an_answer_of_http(case: Case):
    assert await refusal(case, connect(b"nobody.invalid:443")) == (502, "dns_error")


SENT_AHEAD = [
    pytest.param([], id="nothing said"),
    pytest.param([b"Content-Length: 5"], id="a length"),
    pytest.param([b"Transfer-Encoding: chunked"], id="chunks"),
]
SMUGGLED = b"5\r\nhello\r\n0\r\n\r\nGET http://%s/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.case("F-253")
@pytest.mark.parametrize("fields", SENT_AHEAD)
async def test_what_is_sent_ahead_reaches_the_destination_as_it_is(case: Case, far_side: Destination, fields):
    ahead = SMUGGLED % (b"127.0.0.1:%d" % case.upstream.port)
    client = await asked(case, connect(far_side.authority, *fields) + ahead)
    far = await far_side.stream()

    assert await far.read_exactly(len(ahead)) == ahead
    assert await client.read_until(b"\r\n\r\n") == ESTABLISHED
    assert case.upstream_requests == 0


@pytest.mark.case("F-253")
@pytest.mark.parametrize("fields", SENT_AHEAD)
async def test_what_is_sent_ahead_is_dropped_where_there_is_no_tunnel(case: Case, fields):
    ahead = SMUGGLED % (b"127.0.0.1:%d" % case.upstream.port)

    assert await refusal(case, connect(b"127.0.0.66:443", *fields) + ahead) == (403, "destination_prohibited")
    assert case.upstream_requests == 0


@pytest.mark.case("F-253")
async def test_much_that_is_sent_ahead_arrives_whole_and_in_order(case: Case, far_side: Destination):
    ahead = random.Random(3).randbytes(4 << 20)
    client = await case.connect(case.stage.process.listening["forward"][0])
    sending = asyncio.create_task(client.send(connect(far_side.authority) + ahead))
    far = await far_side.stream()

    assert await far.read_exactly(len(ahead)) == ahead
    await sending


async def test_a_destination_that_speaks_first_is_heard(case: Case, far_side: Destination):
    client = await asked(case, connect(far_side.authority))
    far = await far_side.stream()
    far.write(b"220 ready\r\n")

    assert await client.read_exactly(len(ESTABLISHED) + 11) == ESTABLISHED + b"220 ready\r\n"


@pytest.mark.case("F-255")
async def test_an_application_that_ends_first_still_hears_everything(case: Case, far_side: Destination):
    client, far = await tunnel(case, far_side)
    words = random.Random(4).randbytes(1 << 20)
    await client.send(b"last words")
    client.half_close()
    assert await far.read_rest() == b"last words"
    assert not far.was_reset
    far.write(words)
    far.half_close()

    assert await client.read_rest() == words
    assert not client.was_reset
    await no_tunnel(case)


@pytest.mark.case("F-255")
async def test_a_destination_that_ends_first_still_hears_everything(case: Case, far_side: Destination):
    client, far = await tunnel(case, far_side)
    words = random.Random(5).randbytes(1 << 20)
    far.write(b"last words")
    far.half_close()
    assert await client.read_rest() == b"last words"
    assert not client.was_reset
    sending = asyncio.create_task(client.send(words))
    heard = asyncio.create_task(far.read_rest())
    await sending
    client.half_close()

    assert await heard == words
    assert not far.was_reset
    await no_tunnel(case)


@pytest.mark.case("F-255")
async def test_an_application_that_ends_before_there_is_a_tunnel_is_heard_to_its_end(case: Case, far_side: Destination):
    client = await asked(case, connect(far_side.authority) + b"all of it")
    client.half_close()
    far = await far_side.stream()
    assert await far.read_rest() == b"all of it"
    await far.close()

    assert await client.read_rest() == ESTABLISHED
    await no_tunnel(case)


@pytest.mark.case("F-255")
async def test_a_reset_of_the_application_is_one_at_the_destination(case: Case, far_side: Destination):
    client, far = await tunnel(case, far_side)
    client.reset()

    assert await far.read_rest() == b""
    assert far.was_reset
    await no_tunnel(case)


@pytest.mark.case("F-255")
async def test_a_reset_of_the_destination_is_one_at_the_application(case: Case, far_side: Destination):
    client, far = await tunnel(case, far_side)
    far.reset()

    assert await client.read_rest() == b""
    assert client.was_reset
    await no_tunnel(case)


@pytest.mark.case("F-255")
async def test_a_reset_of_the_application_is_one_at_a_destination_that_has_ended(case: Case, far_side: Destination):
    client, far = await tunnel(case, far_side)
    far.half_close()
    assert await client.read_rest() == b""
    client.reset()

    assert await far.read_rest() == b""
    assert far.was_reset
    await no_tunnel(case)


@pytest.mark.case("F-255")
async def test_an_application_that_leaves_while_its_destination_is_dialled_leaves_nothing(case: Case):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        authority = b"127.0.0.1:%d" % listener.getsockname()[1]
        clients = [await asked(case, connect(authority)) for _ in range(8)]  # the queue is full: some wait

        async def dialling() -> bool:
            return await case.stage.process.metric("tunnels_open") == len(clients)

        await eventually("all of them under way", dialling)
        for client in clients:
            client.reset()
        await no_tunnel(case)

    path = authority.decode()
    await case.stage.process.until_logged("exchange", len(clients), path=path)
    assert {line["status"] for line in case.stage.process.logged("exchange", path=path)} == {200, 499}


SIZE = 32 << 20


@pytest.mark.case("F-255")
@pytest.mark.parametrize("slow", ["application", "destination"])
async def test_a_tunnel_waits_for_its_slower_side(case: Case, far_side: Destination, slow: str):
    far_side.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client, far = await tunnel(case, far_side, receive_buffer=4096)
    before = case.stage.process.resident_bytes()
    if slow == "application":
        far.write(bytes(SIZE))
        pouring = asyncio.create_task(far.drained())
    else:
        pouring = asyncio.create_task(client.send(bytes(SIZE)))
    done, _ = await asyncio.wait([pouring], timeout=0.5)

    assert not done
    assert case.stage.process.resident_bytes() - before < 8 << 20
    async with awaiting("all that was poured"):
        if slow == "application":
            assert len(await client.read_exactly(SIZE)) == SIZE
        else:
            assert len(await far.read_exactly(SIZE)) == SIZE
        await pouring
