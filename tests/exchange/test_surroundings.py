"""What surroundings beside others share with them, and hear with them."""

import asyncio

from proxy.exchange.flow import Exchange
from proxy.exchange.in_chunks import InChunks
from proxy.exchange.inspection import Bounds
from proxy.exchange.pressure import Pressure
from proxy.exchange.record import ConnectionCounters, ProcessCounters
from proxy.exchange.replay import ReplayMemory
from proxy.exchange.surroundings import Surroundings
from proxy.exchange.turned_away import TurnedAway


async def test_whoever_is_beside_is_pressed_drained_and_allowed_tunnels_like_the_others():
    first = Surroundings(
        asyncio.get_running_loop(), ProcessCounters(), ConnectionCounters("-"), None, ReplayMemory(0),
        Bounds(1, 1, 1.0), via_tag=b"", tunnels_max=1, tunnel_idle=1.0,
    )  # fmt: skip
    beside = first.beside(InChunks)

    first.press(Pressure.FULL)
    assert (beside.full, beside.closing, beside.exchange) == (True, True, TurnedAway)
    first.press(Pressure.NONE)
    assert (beside.full, beside.closing, beside.exchange, first.exchange) == (False, False, InChunks, Exchange)
    first.allow_tunnels(7)
    assert (first.tunnels_max, beside.tunnels_max) == (7, 7)
    first.drain()
    assert (first.closing, beside.closing) == (True, True)
    assert beside.counters is first.counters
    assert beside.memory is first.memory
