"""Dialling: what becomes of a name that has more than one address."""

import asyncio
import socket
from contextlib import ExitStack
from time import monotonic

import pytest

from proxy.definitions.models import Timeouts
from proxy.errors import Refusal
from proxy.outbound.destinations import Destinations
from proxy.outbound.dial import Dialler
from proxy.outbound.direct import Direct
from proxy.outbound.pool import Pool, StreamLimit
from proxy.outbound.resolve import Resolver
from proxy.wire.request import HeadLimits
from proxy.wire.sweep import NEVER, Sweep
from tests.outbound.opened import opened

LIMITS = HeadLimits(65536, 16384, 128, 16384)


def swallowing(stack: ExitStack, address: str, port: int) -> None:
    """Let streams to an address hang: a listener whose queue is full drops what comes after."""
    listener = stack.enter_context(socket.socket())
    listener.bind((address, port))
    listener.listen(0)
    for _ in range(4):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex((address, port))


def pool_of(dialler: Dialler, connect: float) -> Pool:
    loop = asyncio.get_running_loop()
    sweep = Sweep(loop, monotonic)
    return Pool("crm", loop, dialler, Timeouts(connect=connect), LIMITS, StreamLimit(10), sweep, 30.0)


def straight(*addresses: str) -> Direct:
    names = Resolver(lookup=lambda _host, port, **_: [(2, 1, 6, "", (address, port)) for address in addresses])
    return Direct(names, Destinations, claimed=True)


@pytest.mark.case("P-222")
async def test_an_address_that_swallows_streams_leaves_its_alternate_time():
    with ExitStack() as stack:
        reached = asyncio.Event()

        def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.set()
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.3", 0)
        port = server.sockets[0].getsockname()[1]
        swallowing(stack, "127.0.0.2", port)
        dialler = Dialler(straight("127.0.0.2", "127.0.0.3"), "two.example", port, None, "")
        pool = pool_of(dialler, connect=2.0)
        stream = await dialler.dial(pool)

        async with asyncio.timeout(5):
            await reached.wait()
        assert reached.is_set()
        stream.close()
        await pool.close()
        server.close()
        await server.wait_closed()


@pytest.mark.case("P-222")
async def test_addresses_that_all_swallow_streams_are_a_timeout():
    with ExitStack() as stack:
        probe = stack.enter_context(socket.socket())
        probe.bind(("127.0.0.4", 0))
        port = probe.getsockname()[1]
        swallowing(stack, "127.0.0.2", port)
        swallowing(stack, "127.0.0.3", port)
        dialler = Dialler(straight("127.0.0.2", "127.0.0.3"), "two.example", port, None, "")
        pool = pool_of(dialler, connect=0.3)

        with pytest.raises(Refusal) as refused:
            await dialler.dial(pool)

        assert refused.value.problem.code == "upstream_connect_timeout"
        await pool.close()


class Recipient:
    """Takes what a stream hands over; nothing comes in these tests."""

    def response(self, head, piece, *, done):
        raise AssertionError("nothing was sent")

    def piece(self, data, *, done):
        raise AssertionError("nothing was sent")

    def broken(self, refusal):
        raise AssertionError("nothing broke")

    def upload_blocked(self, *, on):
        raise AssertionError("nothing was sent")


async def test_a_tunnel_that_was_held_keeps_its_own_patience():
    accepted = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = pool_of(Dialler(straight("127.0.0.1"), "one.example", port, None, ""), connect=2.0)
    stream = await opened(pool)
    stream.begin(Recipient(), b"GET / HTTP/1.1\r\n\r\n", complete=True, head_only=False, decode=False, trailers=False)
    response_deadline = stream.deadline

    stream.tunnel(object(), idle=10_000.0)
    stream.hold(on=True)
    assert stream.deadline == NEVER
    stream.hold(on=False)

    assert stream.deadline > response_deadline + 5_000
    stream.close()
    await pool.close()
    server.close()
    for writer in accepted:
        writer.close()
