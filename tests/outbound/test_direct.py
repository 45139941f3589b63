"""The straight way out: the address that was judged is the one that is dialled, and no other sees a SYN."""

import asyncio
import ipaddress
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

import pytest

from proxy.definitions.models import Timeouts
from proxy.definitions.settings import Deny
from proxy.errors import Refusal
from proxy.outbound.destinations import Destinations
from proxy.outbound.dial import Dialler, reach
from proxy.outbound.direct import Direct
from proxy.outbound.pool import Pool, StreamLimit
from proxy.outbound.resolve import Resolver
from proxy.wire.request import HeadLimits
from proxy.wire.sweep import Sweep
from tests.outbound.opened import opened
from tests.support.deadline import eventually

DENIED = Destinations((Deny(network=ipaddress.ip_network("127.0.0.2/32")),))


class Names:
    """A resolver whose answers change with each lookup, the last one staying."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.lookups = 0

    def look_up(self, _host, port, **_):
        self.lookups += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(2, 1, 6, "", (address, port)) for address in found]


@asynccontextmanager
async def listening(*addresses, keep=False):
    """Listen on the same port of each address; yield the port and who was reached, in order."""
    reached, kept = [], []
    async with AsyncExitStack() as stack:
        with socket.create_server((addresses[0], 0)) as first:
            port = first.getsockname()[1]
        for address in addresses:

            def accept(_, writer, address=address):
                reached.append(address)
                kept.append(writer)
                if not keep:
                    writer.close()

            server = await asyncio.start_server(accept, address, port)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
        yield port, reached
        for writer in kept:
            writer.close()


async def dial(names, port, destinations=DENIED, *, claimed=False):
    way = Direct(Resolver(lookup=names.look_up), lambda: destinations, claimed=claimed)

    async def attempt(address):
        transport, _ = await way.open(asyncio.Protocol, address, "rebinding.example", port)
        transport.close()
        return address

    return await reach(way, "rebinding.example", port, 5.0, attempt)


async def arrived(reached):
    """Return who was reached, once somebody was."""
    await eventually("a stream that arrives", lambda: bool(reached))
    return reached


@pytest.mark.case("F-249")
async def test_of_a_mixed_answer_the_denied_addresses_are_skipped_and_see_nothing():
    names = Names(["127.0.0.2", "169.254.169.254", "127.0.0.3"])
    async with listening("127.0.0.2", "127.0.0.3") as (port, reached):
        dialled = await dial(names, port)

        assert dialled == "127.0.0.3"
        assert await arrived(reached) == ["127.0.0.3"]
    assert names.lookups == 1


@pytest.mark.case("F-245", "F-249")
@pytest.mark.parametrize("answer", [["127.0.0.2"], ["127.0.0.2", "0.0.0.0"], ["::ffff:127.0.0.2"]])
async def test_where_no_address_is_left_nothing_is_dialled(answer):
    names = Names(answer)
    async with listening("127.0.0.2", "127.0.0.3") as (port, reached):
        with pytest.raises(Refusal) as refused:
            await dial(names, port)
        await dial(Names(["127.0.0.3"]), port)

        assert refused.value.problem.code == "destination_prohibited"
        assert await arrived(reached) == ["127.0.0.3"]
    assert names.lookups == 1


@pytest.mark.case("F-249")
async def test_a_name_that_changes_its_mind_after_the_lookup_is_not_asked_again():
    names = Names(["127.0.0.3"], ["127.0.0.2"])
    async with listening("127.0.0.2", "127.0.0.3") as (port, reached):
        first = await dial(names, port)
        with pytest.raises(Refusal) as refused:
            await dial(names, port)

        assert (first, names.lookups) == ("127.0.0.3", 2)
        assert refused.value.problem.code == "destination_prohibited"
        assert await arrived(reached) == ["127.0.0.3"]


@pytest.mark.case("F-251")
async def test_a_stream_at_rest_is_used_again_though_its_name_leads_elsewhere_now():
    names = Names(["127.0.0.3"], ["127.0.0.2"])
    loop = asyncio.get_running_loop()
    async with listening("127.0.0.2", "127.0.0.3", keep=True) as (port, reached):
        way = Direct(Resolver(lookup=names.look_up), lambda: DENIED, claimed=False)
        dialler = Dialler(way, "rebinding.example", port, None, "")
        limits = HeadLimits(65536, 16384, 128, 16384)
        pool = Pool("-", loop, dialler, Timeouts(), limits, StreamLimit(10), Sweep(loop, monotonic), 30.0)
        stream = await opened(pool)
        pool.released(stream)
        again = pool.take(None)
        with pytest.raises(Refusal) as refused:
            await opened(pool)

        assert again is stream
        assert refused.value.problem.code == "destination_prohibited"
        assert await arrived(reached) == ["127.0.0.3"]
        stream.close()
        await pool.close()


@pytest.mark.case("F-257")
async def test_a_name_that_leads_to_a_listener_of_ours_is_a_loop():
    async with listening("127.0.0.2", "127.0.0.3") as (port, reached):
        own = Destinations(own=frozenset({("127.0.0.2", port)}))
        with pytest.raises(Refusal) as refused:
            await dial(Names(["127.0.0.2"]), port, own)

        assert refused.value.problem.code == "proxy_loop_detected"
        assert reached == []


@pytest.mark.case("F-247")
async def test_a_claimed_name_may_lead_anywhere_but_to_a_metadata_service():
    async with listening("127.0.0.2") as (port, _):
        assert await dial(Names(["127.0.0.2"]), port, claimed=True) == "127.0.0.2"
        with pytest.raises(Refusal) as refused:
            await dial(Names(["169.254.169.254"]), port, claimed=True)

    assert refused.value.problem.code == "destination_prohibited"


@pytest.mark.case("F-245")
async def test_a_denied_name_is_not_even_looked_up():
    names = Names(["127.0.0.3"])
    with pytest.raises(Refusal) as refused:
        await dial(names, 25, Destinations((Deny(host="rebinding.example"),)))

    assert (refused.value.problem.code, names.lookups) == ("destination_prohibited", 0)
