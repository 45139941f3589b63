import hashlib
import hmac

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


@pytest.mark.parametrize("until", ["99999999999x", "²", "٣", "1e9", "+1", " 1", "1_0", "9" * 13, "9" * 5000])
def test_no_seal_makes_a_number_of_what_is_none(until):
    """Even of us: whoever has the key must not be able to stop the page that checks."""
    sealed = b"k" * 32
    seal = hmac.new(sealed, f"page\n{until}".encode(), hashlib.sha256).hexdigest()

    assert not Tickets(sealed, Clock()).good("page", f"{until}.{seal}")


def test_a_date_of_twelve_digits_is_one(tickets):
    ticket = tickets.issue("page", 999_999_999_998 - int(NOW))

    assert ticket.startswith("999999999998.")
    assert tickets.good("page", ticket)


def test_where_purpose_and_date_meet_no_ticket_can_be_read_as_another(tickets, clock):
    until, _, seal = tickets.issue("link crm\n1", 60).partition(".")

    assert not tickets.good("link crm", f"1\n{until}.{seal}")
    assert not tickets.good("link crm", f"1{until}.{seal}")
    assert not tickets.good("page", tickets.issue("page", 60) + ".x")
    assert not tickets.good("page", tickets.issue("page", 60) + ".")


def test_a_ticket_with_another_date_is_no_ticket(tickets):
    until, _, seal = tickets.issue("page", 60).partition(".")

    assert not tickets.good("page", f"{int(until) + 1}.{seal}")
    assert not tickets.good("page", f"{until}.{seal[:-1]}")
