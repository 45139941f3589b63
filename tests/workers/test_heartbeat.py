"""When a worker is taken for silent, and when for hung: the decision on a clock that is moved, and the looks."""

from __future__ import annotations

import asyncio

from proxy.runtime.workers.heartbeat import ASKED, WELL, Heartbeat, Pulse, Rhythm, is_hung, is_silent, looked
from tests.support.deadline import awaiting

RHYTHM = Rhythm()


class Clock:
    """Time as the main process sees it, and what it knows of one worker by then."""

    def __init__(self, rhythm: Rhythm = RHYTHM) -> None:
        self.rhythm = rhythm
        self.now = 0.0
        self.pulse = WELL
        self.questions = 0

    def look(self, *, heard: bool = False, late: float = 0.0) -> Pulse:
        """Go on to the next look."""
        self.now += self.rhythm.every + late
        before, self.pulse = self.pulse, looked(self.pulse, self.rhythm, heard=heard, late=late)
        self.questions += before == WELL and self.pulse == ASKED
        return self.pulse

    @property
    def silent(self) -> bool:
        return is_silent(self.pulse, self.rhythm)

    @property
    def hung(self) -> bool:
        return is_hung(self.pulse, self.rhythm, serving=True)


def test_who_answers_is_well_for_ever_and_asked_at_every_other_look():
    clock = Clock()

    for _ in range(1000):
        assert clock.look() == ASKED
        assert clock.look(heard=True) == WELL

    assert clock.questions == 1000


def test_who_says_something_by_itself_is_not_asked():
    clock = Clock()

    for _ in range(1000):
        clock.look(heard=True)

    assert clock.questions == 0


def test_who_does_not_answer_is_silent_after_ten_seconds_and_hung_after_thirty():
    clock = Clock()
    clock.look()
    asked = clock.now

    seen = []
    while not clock.hung:
        clock.look()
        seen.append((clock.now - asked, clock.silent))

    assert seen == [(5, False), (10, True), (15, True), (20, True), (25, True), (30, True)]
    assert clock.questions == 1


def test_an_answer_at_the_last_moment_makes_it_well():
    clock = Clock()
    for _ in range(6):
        clock.look()
    assert clock.silent

    clock.look(heard=True)

    assert (clock.silent, clock.hung) == (False, False)
    for _ in range(6):
        clock.look()
        assert not clock.hung


def test_a_machine_that_was_suspended_gives_everybody_the_whole_time_again():
    clock = Clock()
    for _ in range(6):
        clock.look()
    clock.look(late=8 * 3600)
    woke = clock.now

    assert (clock.silent, clock.hung) == (False, False)
    while not clock.hung:
        clock.look()
    assert clock.now - woke == RHYTHM.hung


def test_where_the_main_process_is_never_on_time_nobody_is_judged():
    clock = Clock()

    for _ in range(1000):
        clock.look(late=RHYTHM.late + 0.01)
        assert (clock.silent, clock.hung) == (False, False)


def test_a_little_late_is_on_time_and_the_time_is_never_shorter():
    clock = Clock()
    clock.look()
    asked = clock.now

    while not clock.hung:
        clock.look(late=RHYTHM.late)

    assert clock.now - asked >= RHYTHM.hung


def test_who_begins_has_longer_until_its_first_word():
    clock = Clock()
    clock.pulse = ASKED

    while not is_hung(clock.pulse, RHYTHM, serving=False):
        clock.look()

    assert clock.now == RHYTHM.begin
    assert clock.questions == 0


async def test_looks_come_one_after_the_other_until_they_are_stopped():
    came: list[float] = []
    enough = asyncio.Event()

    def look(late: float) -> None:
        came.append(late)
        if len(came) == 3:
            heartbeat.stop()
            enough.set()

    heartbeat = Heartbeat(Rhythm(every=0.001), look)
    heartbeat.start(asyncio.get_running_loop())
    async with awaiting("three looks"):
        await enough.wait()

    assert len(came) == 3
    assert all(late >= 0 for late in came)
