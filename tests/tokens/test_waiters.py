"""Requests that wait: who is told that it is over, and when."""

import pytest

from proxy.tokens.unavailable import closing
from proxy.tokens.waiters import Waiters
from tests.support.fake_time import FakeTime


@pytest.fixture
def time():
    begun = FakeTime()
    yield begun
    begun.close()


def joined(time, *deadlines):
    waiters = Waiters()
    return waiters, [time.call(waiters.join, until) for until in deadlines]


def test_patience_ends_at_its_very_moment(time):
    waiters, futures = joined(time, 10.0, 11.0)
    waiters.give_up(10.0, 10.0, closing)

    assert [future.done() for future in futures] == [True, False]


def test_an_attempt_that_begins_at_the_last_moment_is_waited_for(time):
    waiters, futures = joined(time, 10.0, 11.0)
    waiters.give_up(5.0, 10.0, closing)
    assert [future.done() for future in futures] == [False, False]
    waiters.give_up(5.0, 10.5, closing)

    assert [future.done() for future in futures] == [True, False]


def test_all_who_give_up_together_are_told_one_reason_and_wait_no_longer(time):
    waiters, futures = joined(time, 10.0, 10.0, 11.0)
    asked = []

    def why():
        asked.append(1)
        return closing()

    waiters.give_up(12.0, 12.0, why)

    assert len({id(future.result()) for future in futures}) == len(asked) == 1
    assert not waiters


def test_the_oldest_of_those_who_still_wait_sets_the_time(time):
    waiters, futures = joined(time, 10.0, 11.0)
    assert waiters.deadline == 10.0
    waiters.leave(futures[0])
    assert waiters.deadline == 11.0
    waiters.leave(futures[1])

    assert waiters.deadline == float("inf")
