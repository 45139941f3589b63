"""Time-outs of a loop that stood still: what had arrived counts, however little of a processor there is to see it."""

import asyncio
import socket
from time import monotonic

import pytest
import uvloop

from proxy.patience import PatientTimer
from tests.support.deadline import awaiting


def keep_busy(seconds):
    """Hold the loop up, as a machine does that has no time for it."""
    end = monotonic() + seconds
    while monotonic() < end:
        pass


class Answered(asyncio.Protocol):
    """Takes an answer in several turns of the loop, each of which takes `seconds`, and then stops the timer."""

    def __init__(self, turns, seconds):
        self.turns = turns
        self.seconds = seconds
        self.timer = None
        self.done = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.turn(self.turns)

    def turn(self, left):
        keep_busy(self.seconds)
        if left:
            asyncio.get_running_loop().call_soon(self.turn, left - 1)
        else:
            self.timer.cancel()
            self.done.set_result("answered")


async def after_a_stall(turns, seconds):
    """Return what came of a wait of 50 ms whose answer came while the loop stood still for 100."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, answered = await loop.create_connection(lambda: Answered(turns, seconds), sock=ours)

    def over():
        if not answered.done.done():
            answered.done.set_result("given up")

    answered.timer = PatientTimer(loop, 0.05, over)
    theirs.send(b"an answer")
    keep_busy(0.1)
    async with awaiting("an end"):
        outcome = await answered.done
    transport.abort()
    theirs.close()
    return outcome


@pytest.mark.parametrize("seconds", [0, 0.022])
def test_an_answer_that_had_come_counts_also_where_each_turn_takes_longer_than_the_last_look(seconds):
    assert uvloop.run(after_a_stall(4, seconds)) == "answered"


def test_what_never_ends_is_given_up_all_the_same():
    assert uvloop.run(after_a_stall(10_000, 0.001)) == "given up"
