"""Bare streams and the tunnels made of them: patience, what waits for a destination, and who leaves meanwhile."""

import asyncio
import socket
from contextlib import asynccontextmanager
from time import monotonic

import pytest
import uvloop

from proxy.exchange.connect import EARLY_MAX, Connect
from proxy.exchange.inspection import Bounds
from proxy.exchange.record import ConnectionCounters, ProcessCounters
from proxy.exchange.replay import ReplayMemory
from proxy.exchange.surroundings import Surroundings
from proxy.outbound.destinations import Destinations
from proxy.outbound.direct import Direct
from proxy.outbound.raw import RawStreams
from proxy.outbound.resolve import Resolver
from proxy.wire.sweep import NEVER, Sweep
from tests.support.deadline import awaiting, eventually
from tests.support.destination import Destination

IDLE = 10_000.0


class Tunnelled:
    """One end of a tunnel that keeps what it is told."""

    def __init__(self):
        self.heard = []
        self.blocks = []
        self.is_lost = False

    def from_upstream(self, data):
        self.heard.append(data)

    def blocked(self, *, on):
        self.blocks.append(on)

    def lost(self):
        self.is_lost = True


class Waiting:
    """Waits for a stream."""

    def __init__(self):
        self.stream = asyncio.get_running_loop().create_future()

    def opened(self, stream):
        self.stream.set_result(stream)

    def broken(self, refusal):
        self.stream.set_exception(refusal)


class Application:
    """An application's stream, as an exchange sees it."""

    def __init__(self):
        self.sent = []
        self.holds = []
        self.end = None

    def send(self, data):
        self.sent.append(data)

    def hold(self, *, on):
        self.holds.append(on)

    def tunnel(self, tunnel):
        self.tunnel = tunnel
        return b"later"

    def finish(self, *, reuse):
        self.end = "finished"

    def abort(self):
        self.end = "aborted"

    def end_tunnel(self):
        self.end = "half-closed"


def streams_of(connect=5.0):
    loop = asyncio.get_running_loop()
    way = Direct(Resolver(), Destinations, claimed=False)
    return RawStreams(way, loop, Sweep(loop, monotonic), connect)


@asynccontextmanager
async def opened():
    """Yield a stream that is a tunnel's, that tunnel, and the stream seen from the destination."""
    streams = streams_of()
    async with Destination() as destination:
        waiting = Waiting()
        streams.open(waiting, "127.0.0.1", destination.port)
        async with awaiting("a stream"):
            stream = await waiting.stream
        tunnel = Tunnelled()
        stream.tunnel(tunnel, IDLE)
        try:
            yield stream, tunnel, await destination.stream()
        finally:
            stream.close()
            await streams.close()


def patience(stream):
    """Return how long the stream waits from now on, in seconds."""
    return stream.deadline - monotonic()


@pytest.mark.case("F-255")
async def test_a_tunnel_waits_long_until_one_side_has_ended_and_thirty_seconds_then():
    async with opened() as (stream, _, _):
        assert patience(stream) > 9_000

        stream.end_upload()

        assert 25 < patience(stream) <= 30


@pytest.mark.case("F-255")
async def test_the_end_of_the_destination_is_waited_for_thirty_seconds_too():
    async with opened() as (stream, tunnel, far):
        far.half_close()
        await eventually("the end of the destination", lambda: tunnel.heard == [b""])
        assert 25 < patience(stream) <= 30

        stream.send(b"more", complete=False)

        assert 25 < patience(stream) <= 30
        assert await far.read_exactly(4) == b"more"


@pytest.mark.case("F-255")
async def test_every_byte_begins_the_wait_anew():
    async with opened() as (stream, tunnel, far):
        stream.deadline = 0.0
        far.write(b"x")
        await eventually("a byte", lambda: tunnel.heard == [b"x"])
        assert patience(stream) > 9_000

        stream.deadline = 0.0
        stream.send(b"y", complete=False)

        assert patience(stream) > 9_000


async def test_while_the_application_does_not_read_nobody_waits_for_the_destination():
    async with opened() as (stream, _, _):
        stream.hold(on=True)
        assert stream.deadline == NEVER

        stream.hold(on=False)

        assert patience(stream) > 9_000


@pytest.mark.case("F-255")
async def test_silence_ends_a_tunnel():
    async with opened() as (stream, tunnel, _):
        stream.expired()

        assert tunnel.is_lost


@pytest.mark.case("F-255")
async def test_what_was_written_before_the_end_still_leaves():
    async with opened() as (stream, tunnel, far):
        far.half_close()
        await eventually("the end of the destination", lambda: tunnel.heard == [b""])
        stream.send(bytes(8 << 20), complete=False)
        stream.end_upload()
        stream.close()

        assert len(await far.read_rest()) == 8 << 20
        assert not far.was_reset


@pytest.mark.case("F-255")
async def test_a_destination_that_never_takes_what_was_written_is_cut_off():
    async with opened() as (stream, tunnel, far):
        far.half_close()
        await eventually("the end of the destination", lambda: tunnel.heard == [b""])
        stream.send(bytes(32 << 20), complete=False)
        stream.end_upload()
        stream.close()
        assert 25 < patience(stream) <= 30

        stream.expired()

        assert len(await far.read_rest()) < 32 << 20


@pytest.mark.case("F-255")
async def test_the_application_is_held_while_the_destination_takes_no_more():
    async with opened() as (stream, tunnel, far):
        stream.send(bytes(32 << 20), complete=False)
        assert tunnel.blocks == [True]

        assert len(await far.read_exactly(32 << 20)) == 32 << 20
        await eventually("the destination to take again", lambda: tunnel.blocks == [True, False])


async def test_who_leaves_hears_nothing_of_the_stream_that_was_dialled():
    streams = streams_of()
    async with Destination() as destination:
        waiting = Waiting()
        streams.open(waiting, "127.0.0.1", destination.port)
        streams.forget(waiting)
        await streams.close()

        assert not waiting.stream.done()


def connect_to(port, client, streams, *, most=10):
    loop = asyncio.get_running_loop()
    surroundings = Surroundings(
        loop, ProcessCounters(), ConnectionCounters("-"), None, ReplayMemory(0), Bounds(1, 1, 1.0),
        via_tag=b"", tunnels_max=most, tunnel_idle=IDLE,
    )  # fmt: skip
    return Connect(surroundings, client, "127.0.0.1", port, streams, counters=surroundings.unmatched), surroundings


@pytest.mark.case("F-253")
async def test_an_application_that_sends_much_ahead_is_held_until_there_is_a_tunnel(black_hole):
    client, streams = Application(), streams_of()
    connect, surroundings = connect_to(black_hole, client, streams)
    connect.start(b"x" * EARLY_MAX)
    assert client.holds == []
    connect.body(b"x", done=False)
    connect.body(b"x", done=False)
    assert client.holds == [True]

    async with Destination() as destination:
        waiting = Waiting()
        streams.open(waiting, "127.0.0.1", destination.port)
        connect.opened(await waiting.stream)
        far = await destination.stream()

        assert client.holds == [True, False]
        assert client.sent == [b"HTTP/1.1 200 Connection established\r\n\r\n"]
        assert await far.read_exactly(EARLY_MAX + 7) == b"x" * (EARLY_MAX + 2) + b"later"
        connect.client_left()
    assert (surroundings.counters.tunnels_open, surroundings.counters.in_flight) == (0, 0)
    await streams.close()


@pytest.mark.case("F-254")
async def test_a_destination_that_swallows_streams_is_a_timeout(black_hole):
    client, streams = Application(), streams_of(connect=0.1)
    connect, surroundings = connect_to(black_hole, client, streams)
    connect.start(b"early")
    await eventually("the answer", lambda: client.end == "finished")

    assert client.sent[0].startswith(b"HTTP/1.1 504 ")
    assert b"Connection: close\r\n" in client.sent[0]
    assert surroundings.counters.tunnels_open == 0


@pytest.mark.case("F-255")
async def test_an_application_that_leaves_ends_the_dial(black_hole):
    client, streams = Application(), streams_of()
    connect, surroundings = connect_to(black_hole, client, streams)
    connect.start(b"")
    [dial] = [task for task in asyncio.all_tasks() if task.get_name() == "dial for a tunnel"]
    connect.client_left()
    await asyncio.wait([dial])
    surroundings.count()

    assert dial.cancelled()
    assert surroundings.counters.tunnels_open == 0
    assert surroundings.unmatched.requests == {499: 1}


@pytest.mark.case("F-256")
async def test_one_tunnel_too_many_is_not_dialled():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        client, streams = Application(), streams_of()
        connect, _ = connect_to(listener.getsockname()[1], client, streams, most=0)
        connect.start(b"")
        await streams.close()

        assert b'details="tunnel_limit"' in client.sent[0]
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    "story",
    [
        test_a_tunnel_waits_long_until_one_side_has_ended_and_thirty_seconds_then,
        test_the_end_of_the_destination_is_waited_for_thirty_seconds_too,
        test_what_was_written_before_the_end_still_leaves,
        test_a_destination_that_never_takes_what_was_written_is_cut_off,
        test_the_application_is_held_while_the_destination_takes_no_more,
        test_who_leaves_hears_nothing_of_the_stream_that_was_dialled,
    ],
)
def test_the_same_on_the_loop_that_the_product_runs_on(story):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(story()) is None
