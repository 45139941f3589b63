"""What has which name in Redis, what is published there, when a server is given up for a while: decided without one."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as some

from proxy.sealing import Keyring
from proxy.tokens.store.breaker import FAILURES, Breaker
from proxy.tokens.store.redis_names import Message, mark_of, message_of, name_of, version_of
from tests.tokens.redis_store import K1

VERSIONS = [
    (None, 0), (b"", 0), (b"1", 1), (b"9" * 15, 10**15 - 1), (b"0", 0), (b"01", 0), (b"-1", 0), (b"1e3", 0),
    (b"9" * 16, 0), (b"1.0", 0), (b"1\n", 0), ("\u0661".encode(), 0),
]  # fmt: skip

# ---------------------------------------------------------------------------------------------------- names, messages


@pytest.mark.case("R-390")
@given(some.lists(some.text()), some.lists(some.text()))
def test_other_parts_have_another_name(one, other):
    assert (name_of(*one) == name_of(*other)) is (one == other)


@pytest.mark.case("R-390")
@pytest.mark.parametrize(
    ("one", "other"), [(("a:b", "c"), ("a", "b:c")), (("a,1:b",), ("a", "b")), (("é",), ("e\u0301",)), (("",), ())]
)
def test_no_sign_within_a_part_makes_it_two(one, other):
    assert name_of(*one) != name_of(*other)


def test_a_name_is_the_same_in_every_version():
    assert name_of("default", "crm", "grant") == "iclient-proxy:7:default,3:crm,5:grant,"


@pytest.mark.parametrize(("written", "version"), VERSIONS)
def test_what_is_no_version_is_none(written, version):
    assert version_of(written) == version


@given(some.text(alphabet=some.characters(exclude_characters=" ")), some.text())
def test_a_message_comes_as_it_was_sent(sender, name):
    message = Message(sender, "saved", name)

    assert message_of(message.text().encode("utf-8", "replace")) is not None
    if all(not 0xD800 <= ord(sign) <= 0xDFFF for sign in sender + name):
        assert message_of(message.text().encode()) == message


def test_a_name_may_have_blanks():
    message = Message("a", "saved", "b c d")

    assert message_of(message.text().encode()) == message


def test_a_mark_is_the_same_in_every_version_and_tells_nothing():
    """Replicas of two versions share a server while one takes the place of the other."""
    assert mark_of("f1") == "0eb55a6fa5dc7ebe"


@pytest.mark.parametrize("data", [b"", b"saved", b"a saved", b"\xff"])
def test_what_nobody_of_ours_published_is_no_message(data):
    assert message_of(data) is None


@pytest.mark.case("R-387")
def test_a_nonce_is_not_used_twice():
    keys = Keyring(K1)

    sealed = {keys.seal("", "", os.urandom)[19:35] for _ in range(50_000)}  # twelve bytes in base64

    assert len(sealed) == 50_000


# ------------------------------------------------------------------------------------------------------- the breaker


def test_five_failures_in_a_row_open_the_breaker_and_a_success_closes_it():
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(write=False)
    assert not breaker.is_open
    breaker.failed(write=False)
    assert breaker.is_open

    breaker.worked(write=False)

    assert not breaker.is_open


def test_a_success_between_failures_counts_from_the_beginning():
    breaker = Breaker()
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.failed(write=True)
        breaker.worked(write=True)

    assert not breaker.is_open


def test_reading_does_not_make_up_for_a_write_that_failed():
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failed(write=True)
        assert breaker.worked(write=False) is False

    assert breaker.is_open
    assert breaker.available is False


def test_a_write_that_works_makes_up_for_all_that_failed_before_it():
    breaker = Breaker()
    breaker.failed(write=True)
    breaker.worked(write=True)
    breaker.failed(write=False)

    assert breaker.worked(write=False) is True
    assert breaker.available is True


def test_only_a_change_is_told():
    breaker = Breaker()

    assert [breaker.worked(write=True), breaker.worked(write=True)] == [True, False]
    assert [breaker.failed(write=True), breaker.failed(write=True)] == [True, False]
    assert breaker.worked(write=True) is True
