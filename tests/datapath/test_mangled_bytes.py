"""Bytes that went wrong at random: h11, which is not ours, says whether what came out on the other side is HTTP/1.1."""

from __future__ import annotations

import random

import h11
import pytest

from tests.support.scripts import OK_BODY, replies_then_fin
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

NASTY = [
    *(bytes([byte]) for byte in b'\x00\x01\t\n\x0b\x0c\r "#%,/:;=?@\\_{|}\x7f\x80\x85\xa0\xff0159aZ'),
    b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\n ", b"chunked", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 5, b"Connection: close\r\n",
    b"HTTP/1.0", b"5\r\n",
]  # fmt: skip
ROUNDS = 300


def mangled(raw: bytes, chance: random.Random) -> bytes:
    """Return `raw` with one to three places changed."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(raw))
        cut = chance.choice([0, 0, 1, 1, 2, 5])
        raw = raw[:at] + (chance.choice(NASTY) if chance.random() < 0.8 else b"") + raw[at + cut :]
    return raw


def reading(raw: bytes) -> tuple[int, bytes] | None:
    """Return the status and the body of the final response in `raw`, or None when h11 finds none that is whole."""
    machine = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=1 << 20)
    machine.send(h11.Request(method="GET", target="/", headers=[("Host", "oracle")]))
    machine.send(h11.EndOfMessage())
    machine.receive_data(raw)
    machine.receive_data(b"")
    status, body = 0, b""
    try:
        while True:
            match machine.next_event():
                case h11.Response(status_code=status):
                    pass
                case h11.Data(data=data):
                    body += data
                case h11.EndOfMessage():
                    return status, body
                case h11.InformationalResponse():
                    pass
                case _:
                    return None
    except h11.RemoteProtocolError:
        return None


@pytest.mark.case("D-101", "D-115", "D-125", "D-127", "D-132", "D-163")
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("framing", ["none", "length", "chunked"])
async def test_whatever_a_client_sends_the_upstream_sees_whole_requests_one_for_each_good_answer(
    case: Case, seed: int, framing: str
):
    chance = random.Random(f"{seed} {framing}")
    fields, body = {
        "none": ([], b""),
        "length": ([b"Content-Length: 11"], b"hello world"),
        "chunked": ([b"Transfer-Encoding: chunked"], b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-T: 1\r\n\r\n"),
    }[framing]
    raw = case.request(b"Accept: */*", b"Cookie: a=b", *fields, method=b"POST" if body else b"GET", body=body)
    for _ in range(ROUNDS):
        sent = mangled(raw, chance)
        client = await case.connect()
        case.upstream.requests.clear()
        await client.send(sent)
        client.half_close()
        received = await client.read_rest()
        await client.close()
        whole = [request for request in case.upstream.requests if request.body_complete]
        assert received.count(b"HTTP/1.1 200 OK\r\n") <= len(case.upstream.requests), sent
        assert received.count(OK_BODY) == len(whole), (sent, received)
        for request in whole:
            server = h11.Connection(our_role=h11.SERVER, max_incomplete_event_size=1 << 20)
            server.receive_data(request.head + request.raw_body)
            assert isinstance(server.next_event(), h11.Request), (sent, request.head)
            assert request.token == case.token()
        assert case.upstream.malformed == [], sent


@pytest.mark.case("P-201", "P-203", "P-209", "P-215", "P-225", "P-231")
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("framing", ["length", "chunked", "stream"])
async def test_whatever_an_upstream_sends_the_client_gets_the_same_reading_or_an_error(
    case: Case, seed: int, framing: str
):
    chance = random.Random(f"{seed} {framing}")
    fields, body = {
        "length": (b"Content-Length: 11\r\n", b"hello world"),
        "chunked": (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-T: 1\r\n\r\n"),
        "stream": (b"", b"hello world"),
    }[framing]
    raw = b"HTTP/1.1 200 OK\r\nServer: x\r\nX-A: a, b\r\n" + fields + b"\r\n" + body
    await case.warm()
    for _ in range(ROUNDS):
        sent = mangled(raw, chance)
        case.upstream.answers(replies_then_fin(sent))
        client = await case.connect()
        await client.send(case.request(b"Connection: close"))
        received = await client.read_rest()
        await client.close()
        relayed = reading(received)
        if relayed is None:
            assert not received.startswith(b"HTTP/1.1 502 "), (sent, received)
        elif relayed[0] != 502:
            assert relayed == reading(sent), (sent, received)
    assert case.upstream_requests == ROUNDS
