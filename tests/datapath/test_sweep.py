"""The sweep over deadlines: who is late is told, a few in each turn of the loop, so that many hold up nobody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.wire.sweep import AT_ONCE, NEVER, Sweep
from tests.support.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(eq=False)
class Late:
    """Has missed its deadline, and says so when it is told."""

    tell: Callable[[], None]
    deadline: float = 0.0

    def expired(self) -> None:
        self.deadline = NEVER
        self.tell()


async def test_many_that_are_late_are_told_a_few_at_a_time():
    loop = asyncio.get_running_loop()
    turns: list[int] = []
    told: list[int] = []
    sweep = Sweep(loop, loop.time)
    sweep.members = {Late(lambda: told.append(len(turns))) for _ in range(5 * AT_ONCE)}

    def turn() -> None:
        turns.append(1)
        if len(told) < len(sweep.members):
            loop.call_soon(turn)

    sweep.start()
    turn()
    await eventually("the last of them", lambda: len(told) == len(sweep.members))
    sweep.stop()

    assert max(told.count(at) for at in set(told)) == AT_ONCE


async def test_who_has_moved_its_deadline_meanwhile_is_not_told():
    loop = asyncio.get_running_loop()
    sweep = Sweep(loop, loop.time)
    told: list[int] = []

    def all_move() -> None:
        told.append(1)
        for each in many:
            each.deadline = NEVER

    many = [Late(all_move) for _ in range(AT_ONCE + 1)]
    sweep.members = set(many)
    sweep.start()
    await eventually("the first of them", lambda: bool(told))
    sweep.stop()

    assert len(told) == 1
