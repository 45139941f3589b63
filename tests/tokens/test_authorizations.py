"""Authorizations under way: each good once, for ten minutes, in the browser that began it."""

import random

import pytest

from proxy.tokens.authorizations import LIFETIME, PENDING_MAX, FlowError, Flows
from tests.oauth.answers import iclient

CLIENT = iclient()


class Hands:
    """A monotonic clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def flows(clock):
    return Flows(random.Random(7).randbytes, clock)


def begun(flows, connection="crm", path_name="acme"):
    state, flow = flows.begin(connection, path_name, "http://127.0.0.1:7489/oauth/callback/acme", None, CLIENT)
    return state, flow.session.reveal()


def refused(flows, *arguments):
    with pytest.raises(FlowError) as raised:
        flows.take(*arguments)
    return raised.value.code


def test_the_browser_that_began_gets_its_authorization_back(flows):
    state, session = begun(flows)

    assert flows.take(state, "acme", ("another", session)).connection == "crm"


@pytest.mark.case("A-331")
def test_a_state_is_good_once(flows):
    state, session = begun(flows)
    flows.take(state, "acme", (session,))

    assert refused(flows, state, "acme", (session,)) == "invalid_state"


@pytest.mark.case("A-331")
@pytest.mark.parametrize("state", ["", "0" * 64, "é"])
def test_a_state_that_was_never_given_out_is_refused(flows, state):
    _, session = begun(flows)

    assert refused(flows, state, "acme", (session,)) == "invalid_state"


@pytest.mark.case("A-331")
def test_a_state_is_good_for_ten_minutes(flows, clock):
    state, session = begun(flows)
    late, late_session = begun(flows)
    clock.now += LIFETIME
    assert flows.take(state, "acme", (session,))
    clock.now += 0.1

    assert refused(flows, late, "acme", (late_session,)) == "invalid_state"


@pytest.mark.case("A-332")
@pytest.mark.parametrize("sessions", [(), ("",), ("another",)])
def test_another_browser_gets_nothing_and_uses_the_state_up(flows, sessions):
    state, session = begun(flows)

    assert refused(flows, state, "acme", sessions) == "session_mismatch"
    assert refused(flows, state, "acme", (session,)) == "invalid_state"


@pytest.mark.case("A-335")
def test_the_path_has_to_name_what_the_state_belongs_to(flows):
    state, session = begun(flows, path_name="acme")

    assert refused(flows, state, "other", (session,)) == "invalid_state"


@pytest.mark.case("A-331")
def test_of_too_many_the_oldest_gives_way(flows):
    first, first_session = begun(flows)
    second, second_session = begun(flows)
    for _ in range(PENDING_MAX - 1):
        begun(flows)

    assert len(flows) == PENDING_MAX
    assert refused(flows, first, "acme", (first_session,)) == "invalid_state"
    assert flows.take(second, "acme", (second_session,))


def test_states_and_sessions_have_256_bits(flows):
    found = [begun(flows) for _ in range(100)]

    assert {len(text) for pair in found for text in pair} == {64}
    assert len({text for pair in found for text in pair}) == 200


@pytest.mark.case("A-331")
def test_what_nobody_came_back_for_is_forgotten_after_ten_minutes_and_nothing_before(flows, clock):
    first, session = begun(flows)
    begun(flows)
    clock.now += LIFETIME
    begun(flows)
    assert len(flows) == 3

    clock.now += 0.1
    begun(flows)
    assert len(flows) == 2
    assert refused(flows, first, "acme", (session,)) == "invalid_state"


def test_of_many_the_one_that_has_waited_longest_is_forgotten(flows, clock):
    begun(flows)
    clock.now += LIFETIME
    later, session = begun(flows)
    clock.now += 1
    begun(flows)

    assert flows.take(later, "acme", (session,))
