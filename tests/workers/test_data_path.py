"""The whole data path in several workers: bodies that are sent again, logs, tunnels, spans, a company's proxy."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.observe.test_traces import Collector
from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.destination import Destination
from tests.support.egress_proxy import EgressProxy
from tests.support.interception import connect, listeners
from tests.support.process import ROOT
from tests.support.scripts import OK_BODY
from tests.support.stage import SECRET, Stage
from tests.workers.conftest import SIZE, all_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.conftest import Play, WithWorkers

pytestmark = pytest.mark.timeout(120)

KIB = 1 << 10


def in_chunks(body: bytes, size: int) -> bytes:
    """Return the body in chunks of this size."""
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def upload(made: WithWorkers, body: bytes) -> bytes:
    return made.case.request(
        b"Transfer-Encoding: chunked", method=b"POST", target=b"/up", body=in_chunks(body, 7 * KIB + 1)
    )


async def test_an_upload_in_chunks_is_sent_again_whole_by_each_worker(play: Play):
    made = await play({"replay": {"body_limit": "2MiB"}})
    streams = list((await made.streams_of_all()).values())
    for client in streams:
        assert (await client.ask(made.case.request())).status == 200
    made.case.upstream.requests.clear()
    made.case.upstream.refused_tokens.add(made.case.token())
    bodies = [os.urandom(1024 * KIB) for _ in streams]

    answers = await all_of(*(client.ask(upload(made, body)) for client, body in zip(streams, bodies, strict=True)))

    assert {(each.status, each.body) for each in answers} == {(200, OK_BODY)}
    assert made.case.token_requests == 2
    sent = [each for each in made.case.upstream.requests if each.token == made.case.token(2)]
    assert sorted(each.body for each in sent) == sorted(bodies)
    assert all(each.values(b"transfer-encoding") == [b"chunked"] for each in sent)


async def test_each_worker_keeps_bodies_in_its_part_of_the_memory(play: Play):
    made = await play({"replay": {"body_limit": "2MiB"}}, limits={"replay_memory": "1MiB"})
    one, other = (await made.streams_of_all()).values()
    for client in (one, other):
        assert (await client.ask(made.case.request())).status == 200
    half = 512 * KIB

    made.case.upstream.refused_tokens.add(made.case.token(1))
    kept = await one.ask(upload(made, os.urandom(half - 100 * KIB)))
    made.case.upstream.refused_tokens.add(made.case.token(2))
    too_large = await other.ask(upload(made, os.urandom(half + 100 * KIB)))
    afterwards = await other.ask(upload(made, os.urandom(half - 100 * KIB)))

    assert [each.status for each in (kept, too_large, afterwards)] == [200, 401, 200]
    sent = [each.token for each in made.case.upstream.requests if each.method == b"POST"]
    assert sent == [made.case.token(number) for number in (1, 2, 2, 3)]


async def test_the_access_log_in_a_file_has_a_whole_line_with_an_id_of_its_own_for_each_request(tmp_path: Path):
    stage = Stage({"c0": {}}, {"workers": SIZE})
    await stage.tokens.start()
    written = tmp_path / "definitions.yaml"
    written.write_text(json.dumps(stage.definitions()))
    log = tmp_path / "access.log"
    with log.open("wb") as file:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy", "run", "--config", str(written),
            stdout=file, stderr=asyncio.subprocess.PIPE, cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CLIENT_SECRET": SECRET},
        )  # fmt: skip
    case = await stage.case("c0", counted=False)
    try:

        def lines(event: str) -> list[dict[str, str]]:
            found = [json.loads(line) for line in log.read_bytes().splitlines() if line.endswith(b"}")]
            return [each for each in found if each["event"] == event]

        def serve() -> bool:
            return sum(each["outcome"] == "serving" for each in lines("worker")) == SIZE

        await eventually("all workers", serve, 60.0)
        [address] = [each["address"] for each in lines("listening") if each["listener"] == "reverse"]
        host, _, port = address.rpartition(":")
        clients = [await Client.connect((host, int(port))) for _ in range(16)]

        async def talk(number: int, client: Client) -> None:
            for n in range(150):
                target = b"/c0/%d-%d/%s" % (number, n, b"x" * (n * 37 % 3000))
                head = b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, address.encode())
                assert (await client.ask(head)).status == 200

        await all_of(*(talk(number, client) for number, client in enumerate(clients)))
        for client in clients:
            await client.close()
    finally:
        running.terminate()
        _, said = await running.communicate()
        await case.upstream.close()
        stage.cases.remove(case)
        await stage.tokens.close()

    found = [json.loads(line) for line in log.read_text().splitlines()]  # each is one, and nothing else is there
    exchanges = [each for each in found if each["event"] == "exchange"]
    assert (running.returncode, said) == (0, b"")
    assert len(exchanges) == 16 * 150
    assert len({each["request_id"] for each in exchanges}) == 16 * 150
    assert len({each["request_id"].partition("-")[0] for each in exchanges}) == SIZE
    assert any(each["event"] == "stopped" for each in found)


async def test_what_all_workers_have_counted_is_what_was_asked(play: Play):
    made = await play()
    clients = [await made.case.connect() for _ in range(12)]

    async def talk(number: int) -> None:
        for n in range(50):
            target = b"/%s" % (b"x" if n % 5 else b"missing")
            assert (await clients[number].ask(made.case.request(target=target))).status == 200

    await all_of(*(talk(number) for number in range(12)))

    assert await made.process.metric('requests_total{connection="c0",code="200"}') == 600
    told = await made.process.until_logged("exchange", 600, connection="c0", status=200)
    assert told["attempts"] == 1
    ids = Counter(line["request_id"] for line in made.process.logged("exchange"))
    assert set(ids.values()) == {1}
    assert await made.process.metric("in_flight_requests") == 0


async def test_tunnels_of_all_workers_are_counted_together_and_bytes_pass(play: Play):
    made = await play(listeners=listeners(unclaimed="tunnel"))
    async with Destination() as far:
        address = made.process.listening["forward"][0]
        clients = [await made.case.connect(address) for _ in range(8)]
        others = []
        for client in clients:
            await client.send(connect(made.case, far.authority))
            assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            other = await far.stream()
            others.append(other)
            await client.send(b"there")
            assert await other.read_exactly(5) == b"there"
            other.write(b"back")
            assert await client.read_exactly(4) == b"back"
        during = await made.process.metric("tunnels_open")
        for client in (*clients, *others):
            await client.close()

        async def none() -> bool:
            return await made.process.metric("tunnels_open") == 0

        await eventually("the end of all tunnels", none)
    assert during == 8


async def test_every_worker_goes_through_the_company_s_proxy_and_to_nobody_else(play: Play):
    async with EgressProxy() as company:
        made = await play(egress_proxy=f"http://127.0.0.1:{company.port}")
        for client in (await made.streams_of_all()).values():
            assert (await client.ask(made.case.request())).status == 200
        own = f"127.0.0.1:{made.case.upstream.port}"

        assert company.asked_for.count(own) == SIZE
        assert company.asked_for.count(made.stage.tokens.authority) == 1
        assert len(made.case.upstream.streams) == SIZE
    await made.case.leave()


async def test_every_worker_sends_its_spans(play: Play):
    collector = Collector()
    await collector.server.start()
    try:
        made = await play(environment=collector.environment)
        for client in (await made.streams_of_all()).values():
            assert (await client.ask(made.case.request())).status == 200

        await collector.until(2 * SIZE)
        await made.stage.process.stop()
    finally:
        await collector.server.close()

    assert len([span for span in collector.spans if span.parent_span_id]) >= SIZE
    assert b"canary-" not in b"".join(span.SerializeToString() for span in collector.spans)
