"""A unix socket knows no reset: what was cut shows all the same, for a body without a length goes out in chunks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.scripts import OK_BODY, replies, replies_then_fin, replies_then_resets
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
RULES = [{"status": 200, "path": "error", "values": ["expired"]}]


def SETTINGS(folder: Path) -> dict[str, Any]:  # noqa: N802 - a setting like those of the other modules, made late
    unix = {"bind": f"unix:{folder}/proxy.sock", "allowed_hosts": ["127.0.0.1"]}
    return {"listeners": {"reverse": [{"bind": "127.0.0.1:0"}, unix]}}


async def connected(case: Case) -> Client:
    [path] = case.stage.process.sockets
    return await case.connect(path)


@pytest.mark.case("P-227")
async def test_a_body_without_a_length_whose_upstream_is_reset_lacks_its_last_chunk(case: Case):
    gate = asyncio.Event()
    case.upstream.answers(replies_then_resets(HEAD + b"hello", gate))
    client = await connected(case)
    await client.send(case.request())
    received = await client.read_until(b"hello")
    gate.set()
    received += await client.read_rest()
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked" in head
    assert body == b"5\r\nhello\r\n"


@pytest.mark.case("P-227")
async def test_one_that_ends_well_has_it_and_leaves_the_stream_to_the_next_request(case: Case):
    gate = asyncio.Event()
    case.upstream.answers(replies_then_fin(HEAD + b"hello", gate, b" world"))
    client = await connected(case)
    await client.send(case.request())
    await client.read_until(b"hello\r\n")
    gate.set()
    assert (await client.read_until(b"0\r\n\r\n")).endswith(b"\r\n world\r\n0\r\n\r\n")
    case.upstream.answers(replies_then_fin(HEAD + b"again"))
    answered = await client.ask(case.request())
    assert (answered.status, answered.body, answered.complete, answered.closes) == (200, b"again", True, False)
    assert answered.values(b"connection") == []


@pytest.mark.case("P-227", "D-170")
async def test_a_client_of_http_1_0_gets_it_until_the_end_of_the_stream(case: Case):
    case.upstream.answers(replies_then_fin(HEAD + b"hello"))
    client = await connected(case)
    await client.send(case.raw(b"GET %b/x HTTP/1.0" % case.prefix, b"Host: localhost"))
    head, _, body = (await client.read_rest()).partition(b"\r\n\r\n")
    assert body == b"hello"
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.parametrize(
    ("method", "raw", "body"),
    [
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n", b""),
    ],
    ids=["length", "chunks", "no content", "head"],
)
async def test_what_has_an_end_of_its_own_passes_as_it_came(case: Case, method: bytes, raw: bytes, body: bytes):
    case.upstream.answers(replies(raw))
    answered = await (await connected(case)).ask(case.request(method=method))
    assert (answered.body, answered.complete, answered.closes) == (body, True, False)
    assert answered.values(b"transfer-encoding") == ([b"chunked"] if b"chunked" in raw else [])


@pytest.mark.case("P-227")
@pytest.mark.connection(auth_errors=RULES)
@pytest.mark.parametrize("second", [b'"none"}', b'"expired"}'], ids=["relayed", "replayed"])
async def test_a_body_that_a_rule_reads_first_goes_out_in_chunks_too(case: Case, second: bytes):
    gate = asyncio.Event()
    gate.set()
    head = HEAD.replace(b"text/plain", b"application/json")
    case.upstream.answers(replies_then_fin(head + b'{"error": ', gate, second), replies_then_fin(head + OK_BODY))
    answered = await (await connected(case)).ask(case.request())
    wanted = b'{"error": "none"}' if b"none" in second else OK_BODY
    assert (answered.status, answered.body, answered.complete) == (200, wanted, True)
    assert answered.values(b"transfer-encoding") == [b"chunked"]
