import asyncio

from proxy.runtime.turns import Turns
from tests.support.deadline import awaiting


class Work:
    """Something that takes as long as the test wants."""

    def __init__(self):
        self.began = 0
        self.running = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.started = asyncio.Event()

    async def __call__(self):
        self.began += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.started.set()
        await self.gate.wait()
        self.running -= 1
        return self.began


async def test_all_who_ask_before_a_turn_begins_share_its_outcome():
    work = Work()
    work.gate.set()
    turns = Turns(work, "work", 0)
    outcomes = await asyncio.gather(*(turns.ask() for _ in range(100)))
    await turns.close()

    assert outcomes == [1] * 100


async def test_those_who_ask_meanwhile_share_one_more_turn():
    work = Work()
    turns = Turns(work, "work", 0)
    first = turns.ask()
    async with awaiting("the first turn"):
        await work.started.wait()
    later = [turns.ask() for _ in range(100)]

    assert not any(each.done() for each in (first, *later))

    work.gate.set()
    async with awaiting("both turns"):
        assert await first == 1
        assert {await each for each in later} == {2}
    await turns.close()
    assert (work.began, work.most) == (2, 1)


async def test_after_a_rest_there_are_turns_again():
    work = Work()
    work.gate.set()
    turns = Turns(work, "work", 0)
    outcomes = [await turns.ask() for _ in range(3)]
    await turns.close()

    assert outcomes == [1, 2, 3]


async def test_one_who_leaves_spoils_nothing_for_the_next():
    work = Work()
    turns = Turns(work, "work", 0)
    turns.ask().cancel()
    work.gate.set()
    async with awaiting("the next turn"):
        assert await turns.ask() >= 1
    await turns.close()


async def test_the_end_lets_nobody_wait():
    work = Work()
    turns = Turns(work, "work", 0)
    under_way = turns.ask()
    async with awaiting("the first turn"):
        await work.started.wait()
    waiting = turns.ask()
    await turns.close()
    async with awaiting("the end of both"):
        ended = await asyncio.gather(under_way, waiting, return_exceptions=True)

    assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
    assert work.began == 1
