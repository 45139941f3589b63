"""Heads of a shape that was learned: one regular expression takes them, and says what the long way would have said."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.wire import request, response
from proxy.wire.names import REQUEST_FIELDS
from proxy.wire.request import HeadLimits, parse_request
from proxy.wire.response import parse_response
from proxy.wire.shapes import Shapes
from tests.fuzz import same
from tests.fuzz.mutators import spoilt
from tests.wire.test_names import IN_REQUESTS, IN_RESPONSES

LIMITS = HeadLimits(64 * 1024, 16 * 1024, 128, 16 * 1024)
GET = b"GET /v1/a?b=%2F HTTP/1.1\r\nHost: a.example:80\r\nX-Id:\tcaf\xe9 \r\nConnection: keep-alive\r\nVia:\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\nX-Id: 7\r\nContent-Type: a/b\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\nConnection: keep-alive\r\nX-Id:7\r\nETag:\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 \r\nX-Id: 7\r\nTransfer-Encoding: chunked\r\nLocation: /a\r\n\r\n"
BOTH = [
    pytest.param(request, parse_request, GET, id="get"),
    pytest.param(request, parse_request, POST, id="post"),
    pytest.param(response, parse_response, ANSWER, id="answer"),
    pytest.param(response, parse_response, CHUNKED, id="chunked"),
]
SHAPES = {request: parse_request, response: parse_response}


class Learned:
    """Only one shape is known, before each comparison again: another head of its beginning would take its place."""

    def __init__(self, module, read, raw):
        self._module, self._read = module, read
        self._shapes = module.SHAPES.known
        self._shapes.clear()
        same.learn_shape(module, read, raw, LIMITS)
        assert len(self._shapes) == 1
        self._kept = dict(self._shapes)
        self.taken = 0
        self.refused = 0

    def check(self, raw, limits=LIMITS, searched=0):
        module = self._module
        module.SHAPES.turn = 1000
        self._shapes.update(self._kept)
        shaped = same.told(self._read, raw, limits, searched)
        self._shapes.clear()
        module.SHAPES.turn = 1000
        assert shaped == same.told(self._read, raw, limits, searched)
        with same.nothing_remembered(module):
            assert shaped == same.told(self._read, raw, limits, searched)
        ((shape,),) = self._kept.values()
        at = 0 if module is request else raw.find(b"\r\n")
        self.taken += at >= 0 and shape.match(raw, at) is not None
        self.refused += shaped is not None and shaped[0] is Refusal


@pytest.mark.parametrize(("module", "read", "raw"), BOTH)
def test_whatever_stands_at_any_place_the_shape_says_what_the_long_way_says(module, read, raw):
    learned = Learned(module, read, raw)

    for at in range(len(raw)):
        for byte in range(256):
            one = bytes([byte])
            learned.check(raw[:at] + one + raw[at + 1 :])
            learned.check(raw[:at] + one + raw[at:])
        learned.check(raw[:at] + raw[at + 1 :])

    assert learned.taken > 1000
    assert learned.refused > 1000


@pytest.mark.parametrize(("module", "read", "raw"), BOTH)
def test_wherever_a_packet_ends_the_shape_makes_no_difference(module, read, raw):
    learned = Learned(module, read, raw)

    for at in range(len(raw) + 1):
        learned.check(raw[:at])
        learned.check(raw, searched=at)
        learned.check(raw + raw, searched=at)
        learned.check(raw + raw[:at])
        learned.check(b"\r\n" + raw[:at])

    assert learned.taken > len(raw)


@pytest.mark.parametrize(("module", "read", "raw"), BOTH)
def test_at_every_limit_the_shape_makes_no_difference(module, read, raw):
    learned = Learned(module, read, raw)

    for most in range(len(raw) + 8):
        learned.check(raw, HeadLimits(most, 500, 20, 300))
        learned.check(raw, HeadLimits(2000, most, 20, 300))
        learned.check(raw, HeadLimits(2000, 500, most, 300))
        learned.check(raw, HeadLimits(2000, 500, 20, most))


@pytest.mark.parametrize(("module", "read", "raw"), BOTH)
def test_lines_that_are_left_out_come_twice_or_change_their_places_are_read_the_long_way(module, read, raw):
    learned = Learned(module, read, raw)
    first, *lines = raw[:-4].split(b"\r\n")

    for one in range(len(lines)):
        for other in range(len(lines)):
            for those in (
                [*lines[:one], *lines[one + 1 :]],
                [*lines[:one], lines[other], *lines[one:]],
                [*lines[:one], lines[other], *lines[one + 1 :]],
                [*lines[:one], lines[one] + b"\r\n " + lines[other], *lines[one + 1 :]],
            ):
                learned.check(b"\r\n".join([first, *those, b"", b""]))


@pytest.mark.parametrize("name", sorted({*IN_REQUESTS, *IN_RESPONSES, "Accept", "X-Id"}))
@pytest.mark.parametrize(
    "value", [b"", b" 5", b" 05", b" 5\t", b" a, b", b" chunked", b" close", b" upgrade", b" websocket"]
)
def test_no_value_of_any_field_is_taken_otherwise_where_the_shape_is_known(name, value):
    for module, read, start in (
        (request, parse_request, b"GET / HTTP/1.1\r\nHost: a\r\n"),
        (response, parse_response, b"HTTP/1.1 200 OK\r\n"),
    ):
        raw = start + name.encode() + b":%b\r\nX-Id: 1\r\n\r\n"
        for known in (b" 5", b" chunked", b" keep-alive", b" a"):
            try:
                learned = Learned(module, read, raw % known)
            except (Refusal, AssertionError):  # no good head, or a credential's
                continue
            learned.check(raw % value)


@pytest.mark.parametrize(
    "target", [b"*", b"a", b"http://a/", b"http://a b/", b"//", b"/#", b"/\x80", b"/a%", b"?", b""]
)
@pytest.mark.parametrize("method", [b"GET", b"CONNECT", b"OPTIONS", b"FOO", b"get", b"G!", b"PRI", b"A" * 40, b""])
@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"1.2", b"2.0", b"1.10"])
def test_start_lines_of_other_kinds_are_read_the_long_way(method, target, version):
    learned = Learned(request, parse_request, GET)

    learned.check(GET.replace(b"GET /v1/a?b=%2F HTTP/1.1", b"%b %b HTTP/%b" % (method, target, version)))


def test_a_credential_is_never_part_of_what_is_learned():
    request.SHAPES.known.clear()
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n"

    same.learn_shape(request, parse_request, raw, LIMITS)

    assert not request.SHAPES.known


def test_values_are_no_part_of_what_is_learned():
    request.SHAPES.known.clear()

    same.learn_shape(request, parse_request, GET.replace(b"X-Id", b"Cookie").replace(b"caf\xe9", b"secret"), LIMITS)

    ((shape,),) = request.SHAPES.known.values()
    assert b"secret" not in shape.pattern


def test_a_request_with_and_one_without_a_body_are_known_side_by_side():
    request.SHAPES.known.clear()
    get = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: a client\r\nX-Id: 1\r\n\r\n"
    post = b"POST / HTTP/1.1\r\nHost: a\r\nUser-Agent: a client\r\nContent-Length: 5\r\n\r\n"

    for raw in (get, post, get, post):
        same.learn_shape(request, parse_request, raw, LIMITS)

    (shapes,) = request.SHAPES.known.values()
    assert [shape.method for shape in shapes] == [b"POST", b"GET"]
    request.SHAPES.turn = 1
    assert [parse_request(raw, LIMITS).method for raw in (get, post)] == [b"GET", b"POST"]
    assert request.SHAPES.turn == 1  # neither went the long way


def lines(number):
    return b"\r\n" + b"".join(b"X-%d: 1\r\n" % (number + each) for each in range(3)) + b"\r\n"


def test_where_no_two_heads_have_the_same_shape_few_are_learned():
    shapes = Shapes(REQUEST_FIELDS)

    for number in range(20_000):
        shapes.turn -= 1
        if shapes.turn <= 0:
            shapes.learn(b"%d" % number, lines(number))

    assert 5 < len(shapes.known) < 12


def test_only_so_many_are_known_at_a_time():
    shapes = Shapes(REQUEST_FIELDS)

    for number in range(1000):
        shapes.learn(b"%d" % number, lines(number))
        assert len(shapes.known) <= 64
        shapes.learn(b"%d" % number, lines(number + 1))
        shapes.learn(b"%d" % number, lines(number + 2))
        assert len(shapes.known[b"%d" % number]) == 2


def test_long_heads_are_not_learned():
    shapes = Shapes(REQUEST_FIELDS)

    for fields in (b"\r\nA: %b\r\n\r\n" % (b"a" * 5000), b"\r\n" + b"A: 1\r\n" * 65 + b"\r\n"):
        shapes.learn(b"x", fields)

    assert not shapes.known


def test_of_what_mutators_make_the_shape_says_what_the_long_way_says():
    source = random.Random("shapes")
    for module, read, raw in (
        (request, parse_request, GET),
        (request, parse_request, POST),
        (response, parse_response, ANSWER),
    ):
        learned = Learned(module, read, raw)
        for _ in range(5000):
            learned.check(spoilt(source, raw))


@given(st.lists(st.binary(max_size=12), min_size=4, max_size=4))
def test_whatever_the_values_are_the_shape_says_what_the_long_way_says(values):
    learned = Learned(request, parse_request, GET)
    answered = Learned(response, parse_response, ANSWER)
    host, one, connection, via = values

    learned.check(
        b"GET / HTTP/1.1\r\nHost: a.example:80%b\r\nX-Id:%b\r\nConnection:%b\r\nVia:%b\r\n\r\n"
        % (host, one, connection, via)
    )
    answered.check(
        b"HTTP/1.1 200 OK\r\nServer: x%b\r\nContent-Length:%b\r\nConnection:%b\r\nX-Id:%b\r\nETag:\r\n\r\n"
        % (host, one, connection, via)
    )
