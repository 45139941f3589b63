import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.heads import parse_response
from proxy.wire.request import HeadLimits
from proxy.wire.response import ResponseFields
from tests.wire.odd_fields import LET_PASS, OTHER_LENGTHS, PLAIN_LENGTHS, TWO_WORDS

LIMITS = HeadLimits(size=2000, line=500, fields=20, target=300)


def head(*fields, line=b"HTTP/1.1 200 OK"):
    return b"\r\n".join([line, *fields, b"", b""])


def parsed(raw, limits=LIMITS):
    found = parse_response(raw, limits)
    assert found is not None, "the head is taken for incomplete"
    return found


def fields(*lines, **options):
    return parsed(head(*lines, **options)).fields


def assert_refused(raw, limits=LIMITS):
    with pytest.raises(Refusal) as refused:
        parse_response(raw, limits)
    assert refused.value.problem is PROBLEMS["upstream_protocol_error"]


# Where a head ends


def test_a_head_is_taken_apart_and_stays_as_it_came():
    raw = head(b"x-a:  1 ", b"X-A: 2")

    found = parsed(raw + b"and a body")

    assert (found.status, found.version, found.raw, found.size) == (200, 1, raw, len(raw))
    assert found.raw[found.lines_at :] == b"\r\nx-a:  1 \r\nX-A: 2\r\n\r\n"


def test_a_head_is_complete_with_its_empty_line_and_not_before():
    raw = head(b"X-A: 1", b"X-B: 2")

    for at in range(len(raw)):
        assert parse_response(raw[:at], LIMITS) is None, raw[:at]
    for searched in range(len(raw)):
        assert parse_response(raw, LIMITS, searched).size == len(raw)
    assert parsed(raw + head(b"X-C: 3")).raw == raw


# The status line


@pytest.mark.parametrize(
    ("line", "status", "version"),
    [
        (b"HTTP/1.1 200 OK", 200, 1),
        (b"HTTP/1.1 204", 204, 1),
        (b"HTTP/1.1 404 ", 404, 1),
        (b"HTTP/1.0 500 Some \t ~ \x80\xff words", 500, 0),
        (b"HTTP/1.1 100 Continue", 100, 1),
        (b"HTTP/1.1 999 x", 999, 1),
    ],
)
def test_a_status_line_has_a_version_three_digits_and_perhaps_words(line, status, version):
    found = parsed(head(line=line))

    assert (found.status, found.version) == (status, version)
    assert (parsed(head(line=line)).status, parsed(head(line=line)).version) == (status, version)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 200OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\x7fK",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\x1fK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/11 200 OK",
        b"HTTP/1,1 200 OK",
        b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"\r\nHTTP/1.1 200 OK",
    ],
)
def test_a_status_line_of_another_shape_is_refused(line):
    assert_refused(head(b"X-A: 1", line=line))


# Limits


def test_there_may_be_as_many_fields_as_the_limit_and_no_more():
    most = [b"A:" for _ in range(20)]

    assert parsed(head(*most))
    assert_refused(head(*most, b"A:"))
    few = HeadLimits(size=2000, line=500, fields=1, target=300)
    assert parsed(head(b"X-A: 1"), few)
    assert_refused(head(b"X-A: 1", b"X-B: 2"), few)
    assert parse_response(head(*most)[:-2], LIMITS) is None
    assert_refused(head(*most, b"A:")[:-2])


def test_a_head_may_be_as_large_as_the_limit_and_no_larger():
    fits = head(b"X-A: ")[:-4]
    exactly = fits + b"a" * (LIMITS.size - len(fits)) + b"\r\n\r\n"

    assert parsed(exactly)
    assert_refused(exactly[:-4] + b"a\r\n\r\n")
    assert parse_response(exactly[:-4], LIMITS) is None
    assert_refused(exactly[:-4] + b"a")


@pytest.mark.parametrize(
    "raw", [b"X", b"HTTX", b"HTTP/2", b"\r\n", b" ", b"HTTP/1.1 200 OK\nX", b"HTTP/1.1 200 OK\r\nA:\n"]
)
def test_what_can_not_become_a_head_any_more_is_not_waited_for(raw):
    assert_refused(raw)


# Fields that say where the message ends


@pytest.mark.parametrize("value", PLAIN_LENGTHS)
def test_a_content_length_is_a_plain_decimal_number(value):
    assert fields(b"Content-Length: " + value).content_length == int(value)


@pytest.mark.parametrize("value", OTHER_LENGTHS)
def test_any_other_content_length_is_refused(value):
    assert_refused(head(b"Content-Length: " + value))


@pytest.mark.parametrize(
    "lines",
    [
        *TWO_WORDS,
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: gzip",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: chunked, gzip",),
        (b"Transfer-Encoding: chunked;a=b",),
        (b"Transfer-Encoding:",),
    ],
)
def test_doubtful_framing_is_refused(lines):
    assert_refused(head(*lines))


@pytest.mark.parametrize("lines", [*LET_PASS, [b"\nTransfer-Encoding: gzip"]])
def test_what_the_parser_before_it_might_let_pass_is_refused_all_the_same(lines):
    with pytest.raises(Refusal) as refused:
        ResponseFields(lines)
    assert refused.value.problem is PROBLEMS["upstream_protocol_error"]


def test_chunks_are_told_in_every_case_but_not_by_http_1_0():
    assert fields(b"Transfer-Encoding: Chunked").chunked is True
    assert_refused(head(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK"))


@pytest.mark.parametrize(
    "line",
    [b"X-A", b": 1", b"X A: 1", b"X-A : 1", b" X-A: 1", b"X-A: \x00", b"X-A: a\rb", b"X-A: a\nb", b"(X): 1"],
)
def test_a_field_line_that_breaks_the_grammar_is_refused(line):
    assert_refused(head(line))


def test_a_switch_of_protocols_passes_and_what_follows_is_not_looked_at():
    raw = head(b"Upgrade: WebSocket", b"Connection: upgrade", line=b"HTTP/1.1 101 Switching Protocols")

    found = parsed(raw + b"\x81\x00")

    assert (found.status, found.size, found.fields.upgrade) == (101, len(raw), b"websocket")
    assert found.fields.nominated == frozenset()


# Fields of one hop


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: x",
        b"Keep-Alive: timeout=5",
        b"KEEP-ALIVE: x",
        b"Proxy-Authenticate: Basic",
        b"Proxy-Connection: keep-alive",
        b"TE: trailers",
        b"Trailer: X-A",
        b"Upgrade: h2",
    ],
)
def test_a_field_of_one_hop_is_cut_as_a_whole_line(line):
    assert fields(b"X-A: 1", line, b"X-B: 2").cuts == (b"\r\n" + line + b"\r\n",)


@pytest.mark.parametrize(
    "line",
    [
        b"Proxy-Status: a",
        b"Via: 1.1 a",
        b"WWW-Authenticate: Basic",
        b"Location: /x",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"Set-Cookie: a=b",
        b"X-Connection: close",
        b"Trailers: a",
    ],
)
def test_other_fields_are_not_cut(line):
    assert fields(line).cuts == ()


def test_connection_says_whether_the_stream_stays_and_which_fields_it_takes_along():
    found = fields(b"Connection: Close, X-A", b"connection: keep-alive,x-b, Upgrade")

    assert (found.close, found.keep_alive) == (True, True)
    assert found.nominated == {b"x-a", b"x-b"}
    assert (fields(b"Connection: x").close, fields(b"Connection: x").keep_alive) == (False, False)


def test_connection_takes_nothing_along_that_the_clients_safety_rests_on():
    kept = b"Content-Length, Transfer-Encoding, Set-Cookie, WWW-Authenticate, Content-Type, Cache-Control"

    assert fields(b"Connection: X-A, " + kept).nominated == {b"x-a"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5),
        (b"max=100, timeout=17", 17),
        (b"max=100;timeout=60", 60),
        (b"a timeout=1", 1),
        (b"a,timeout=2", 2),
        (b"a;timeout=3", 3),
        (b"timeout=0", 0),
        (b"max=100", -1),
        (b"xtimeout=5", -1),
        (b"timeout=", -1),
        (b"timeout=x", -1),
        (b"timeout=123456789", 123456789),
        (b"timeout=1234567890", 123456789),
    ],
)
def test_how_long_an_idle_stream_is_kept_is_read_where_it_is_told(value, seconds):
    assert fields(b"Keep-Alive: " + value).keep_alive_timeout == seconds


def test_challenges_and_locations_are_found_in_their_order():
    found = fields(
        b"WWW-Authenticate: Basic",
        b"Location: /a ",
        b"www-authenticate:  Bearer error=x ",
        b"Content-Location: /b",
        b"Proxy-Authenticate: Basic",
    )

    assert found.www_authenticate == (b"Basic", b"Bearer error=x")
    assert found.locations == (b"\r\nLocation: /a \r\n", b"\r\nContent-Location: /b\r\n")
    assert found.proxy_authenticate is True


def test_without_any_of_them_all_is_empty():
    found = fields(b"Content-Type: text/plain")

    assert (found.content_length, found.chunked, found.close, found.keep_alive) == (-1, False, False, False)
    assert (found.keep_alive_timeout, found.upgrade, found.proxy_authenticate) == (-1, b"", False)
    assert (found.www_authenticate, found.locations, found.cuts, found.nominated) == ((), (), (), frozenset())


# What is remembered


def kept(kind):
    return sum(type(one) is kind for one in gc.get_objects())


def test_the_same_lines_come_to_the_same_fields_and_what_is_remembered_is_bounded():
    assert fields(b"Location: /same") is fields(b"X-A: 1", b"Location: /same")
    long = b"Location: /" + b"a" * (513 - len(b"\nLocation: /"))
    assert fields(long) is not fields(long)
    assert fields(long[:-1]) is fields(long[:-1])
    counts = set()
    for number in range(5000):
        fields(b"Location: /%d" % number)
        if number % 500 == 92:
            counts.add(kept(ResponseFields))
    assert 500 < max(counts) <= 4096


def test_status_lines_are_read_alike_whether_they_are_remembered_or_not():
    for number in range(5000):
        line = b"HTTP/1.%d %d %d" % (number % 2, 200 + number % 700, number)
        for _ in range(2):
            found = parsed(head(line=line))
            assert (found.version, found.status) == (number % 2, 200 + number % 700)
    long = b"HTTP/1.0 404 " + b"a" * 500
    assert (parsed(head(line=long)).status, parsed(head(line=long)).version) == (404, 0)


@given(st.text("HTP/1.0 2OK\r\nlocatin:a,;=chunkedTransfer-Encoding", max_size=120).map(str.encode))
def test_whatever_comes_is_a_head_or_a_refusal_or_not_complete(raw):
    try:
        found = parse_response(raw, LIMITS)
    except Refusal:
        return

    assert found is None or raw[: found.size].endswith(b"\r\n\r\n")
