"""What is read from Redis, and by whose clock its times are: decided without a server."""

import os
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from proxy.clock import SystemClock
from proxy.sealing import Keyring
from proxy.tokens.store.record import Record
from proxy.tokens.store.redis_records import Records
from proxy.tokens.stored import Stored
from tests.tokens.redis_store import K1
from tests.tokens.test_stores import GRANT, NEXT, TOKEN

KEPT = Stored(3, GRANT, replace(TOKEN, asked_at=5000.0))


class ClockAt(SystemClock):
    """A clock whose wall shows one moment."""

    def __init__(self, seconds):
        self.wall = lambda: seconds


def records(namespace="default", wall=1000.0):
    return Records(namespace, Keyring(K1), os.urandom, ClockAt(wall), {"open": 0})


def read(one, newest, previous=None, *, version=3, mark="f1"):
    return one.read("crm", mark, version, newest, previous)


def sealed(stored, mark="f1", name="crm", namespace="default"):
    return records(namespace).sealed(name, Record(mark, stored))


# ------------------------------------------------------------------------------------------------------- whose times


@pytest.mark.parametrize(
    ("seconds", "microseconds", "ahead"),
    [
        (b"1060", b"500000", 60.5),
        (b"939", b"500000", -60.5),
        (b"1000", b"625000", 0.625),
        (b"1000", b"500000", 0.0),  # a reply takes that long, too
        (b"999", b"500000", 0.0),
        (b"1000", b"0", 0.0),
    ],
)
def test_times_are_kept_by_the_clock_of_the_server(seconds, microseconds, ahead):
    one = records()
    one.note_time(seconds, microseconds)

    assert one.theirs(KEPT).token.asked_at == pytest.approx(5000.0 + ahead, abs=1e-9)
    assert one.ours(KEPT).token.asked_at == pytest.approx(5000.0 - ahead, abs=1e-9)
    assert one.ours(one.theirs(KEPT)) == KEPT


def test_before_the_server_has_told_its_time_it_is_ours():
    assert (records().theirs(KEPT), records().ours(KEPT)) == (KEPT, KEPT)


def test_a_clock_that_was_set_right_is_forgotten():
    one = records()
    one.note_time(b"2000", b"0")
    one.note_time(b"1000", b"100000")

    assert one.theirs(KEPT) == KEPT


def test_what_has_no_token_has_no_time():
    one = records()
    one.note_time(b"2000", b"0")

    assert (one.theirs(Stored(1, GRANT)), one.ours(Stored(1, GRANT))) == (Stored(1, GRANT),) * 2


# ---------------------------------------------------------------------------------------------------- what is read


def test_what_was_kept_is_read():
    one = records()

    assert read(one, sealed(KEPT)) == Record("f1", KEPT)
    assert read(one, None) is None
    assert read(one, None, sealed(KEPT)) is None
    assert one.unreadable == set()


def test_what_was_put_aside_is_read_for_whom_the_newest_is_not():
    one = records()

    assert read(one, sealed(KEPT, "other"), sealed(Stored(1, NEXT))) == Record("f1", Stored(3, NEXT))
    assert read(one, sealed(KEPT), sealed(Stored(1, NEXT))) == Record("f1", KEPT)
    assert read(one, sealed(KEPT, "other"), sealed(Stored(1, NEXT), "third")) is None
    assert read(one, sealed(KEPT, "other")) is None
    assert one.unreadable == set()


@pytest.mark.parametrize(
    "newest",
    [
        b"",
        sealed(KEPT, name="erp"),
        sealed(KEPT, namespace="b"),
        sealed(replace(KEPT, version=2)),  # an older one in its place
        sealed(replace(KEPT, version=4)),
    ],
)
def test_what_does_not_open_or_is_of_another_version_is_counted_and_told_once(newest):
    errors = {"open": 0}
    one = Records("default", Keyring(K1), os.urandom, ClockAt(1000.0), errors)

    with capture_logs() as logs:
        assert read(one, newest) is None
        assert read(one, newest, sealed(KEPT)) is None
    assert errors == {"open": 2}
    assert one.unreadable == {"crm"}
    [line] = logs
    assert (line["event"], line["connection"], line["outcome"]) == ("store", "crm", "undecryptable")
    assert line["reason"]

    assert read(one, sealed(KEPT)) == Record("f1", KEPT)
    assert one.unreadable == set()


def test_what_was_put_aside_and_does_not_open_is_counted_and_nobodys():
    errors = {"open": 0}
    one = Records("default", Keyring(K1), os.urandom, ClockAt(1000.0), errors)

    assert read(one, sealed(KEPT, "other"), b"broken") is None
    assert errors == {"open": 1}
