import pytest

from proxy.admin.tickets import Tickets
from tests.support.running import NOW


class Clock:
    now = NOW

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tickets(clock):
    return Tickets(b"k" * 32, clock)


def test_a_ticket_is_good_for_its_purpose_until_its_time_is_up(tickets, clock):
    ticket = tickets.issue("page", 60)

    assert tickets.good("page", ticket)
    assert not tickets.good("hop crm", ticket)
    clock.now += 59.9
    assert tickets.good("page", ticket)
    clock.now += 0.1
    assert not tickets.good("page", ticket)


def test_a_restart_ends_every_ticket(tickets, clock):
    assert not Tickets(b"x" * 32, clock).good("page", tickets.issue("page", 60))


@pytest.mark.parametrize("made", ["", ".", "9999999999", "9999999999.", "x.y", "-1.a", "9" * 5000, "١٢٣.a", "1.\ud800"])
def test_what_we_did_not_issue_is_no_ticket(tickets, made):
    assert not tickets.good("page", made)


def test_a_ticket_with_another_date_is_no_ticket(tickets):
    until, _, seal = tickets.issue("page", 60).partition(".")

    assert not tickets.good("page", f"{int(until) + 1}.{seal}")
    assert not tickets.good("page", f"{until}.{seal[:-1]}")
