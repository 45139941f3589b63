import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.framing import (
    EXTENSIONS_MAX,
    ChunkedBody,
    CountedBody,
    NoBody,
    UntilCloseBody,
    request_body,
)
from proxy.wire.request import RequestFields

BAD = PROBLEMS["bad_request"]
NEXT = b"GET /next HTTP/1.1\r\n"


def chunked(**options):
    return ChunkedBody(BAD, **options)


def fed(body, *pieces):
    """Feed the pieces; return all that is relayed and all that lies beyond the end."""
    relayed = beyond = b""
    for piece in pieces:
        if body.done:
            beyond += piece
        else:
            out, rest = body.feed(piece)
            relayed, beyond = relayed + out, beyond + rest
    return relayed, beyond


def every_split(data):
    """Yield the data whole, cut once at every place, and byte by byte."""
    yield (data,)
    for at in range(1, len(data)):
        yield data[:at], data[at:]
    yield tuple(data[at : at + 1] for at in range(len(data)))


def assert_is_relayed_as(raw, expected, **options):
    """Check it for every way in which the stream may be cut, with the next request behind it."""
    for pieces in every_split(raw + NEXT):
        body = chunked(**options)
        assert fed(body, *pieces) == (expected, NEXT), pieces
        assert body.done
        assert body.end_of_stream()


def assert_is_refused(raw, **options):
    """Check that no way of cutting the stream lets it pass, and that the refusal is the one asked for."""
    for pieces in every_split(raw):
        body = chunked(**options)
        with pytest.raises(Refusal) as refused:
            fed(body, *pieces)
        assert refused.value.problem is BAD
        assert not body.done


# Without a body, counted, until the end


def test_without_a_body_everything_lies_beyond_its_end():
    body = NoBody()

    assert body.done is True
    assert body.feed(NEXT) == (b"", NEXT)
    assert body.end_of_stream() is True


@pytest.mark.parametrize("length", [1, 2, 5, 300])
def test_a_counted_body_ends_with_its_last_byte_wherever_the_stream_is_cut(length):
    raw = bytes(number % 256 for number in range(length))
    for pieces in every_split(raw + NEXT):
        body = CountedBody(length)
        assert not body.done
        assert fed(body, *pieces) == (raw, NEXT)
        assert body.done
        assert body.left == 0


def test_a_counted_body_that_is_cut_short_is_not_whole():
    body = CountedBody(5)

    assert body.feed(b"1234") == (b"1234", b"")
    assert (body.done, body.left) == (False, 1)
    assert body.end_of_stream() is False
    assert body.feed(b"5") == (b"5", b"")
    assert (body.done, body.left) == (True, 0)
    assert body.end_of_stream() is True


def test_a_counted_body_of_no_bytes_is_there_already():
    assert CountedBody(0).done
    assert CountedBody(0).end_of_stream()


def test_until_the_end_of_the_stream_everything_is_body_and_only_the_end_makes_it_whole():
    body = UntilCloseBody()

    assert body.feed(b"one") == (b"one", b"")
    assert body.done is False
    assert body.end_of_stream() is True
    assert body.done is True


# Chunks


@pytest.mark.parametrize(
    "raw",
    [
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        b"00000000000000aF\r\n" + b"x" * 0xAF + b"\r\n0000\r\n\r\n",
        b"2\r\n\r\n\r\n0\r\n\r\n",
        b"7\r\n0\r\n\r\n0\r\r\n0\r\n\r\n",
    ],
    ids=["none", "one", "two", "sixteen digits", "line ends as data", "what looks like an end as data"],
)
def test_chunks_pass_as_they_came(raw):
    assert_is_relayed_as(raw, raw)
    assert_is_relayed_as(raw, raw, trailers=True)


@pytest.mark.parametrize(
    ("raw", "within"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"5;a=b\r\nhello\r\n1;c\r\n!\r\n0;d\r\nX-A: 1\r\n\r\n", b"hello!"),
        (b"a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n\r\n", b"0123456789abcdefghij"),
    ],
)
def test_decoded_only_what_is_within_the_chunks_is_left(raw, within):
    assert_is_relayed_as(raw, within, decode=True)
    assert_is_relayed_as(raw, within, decode=True, trailers=True)


@pytest.mark.parametrize(
    "extension",
    [
        b";a",
        b";a=b",
        b";a=b;c=d;e",
        b';a="b"',
        b';a=""',
        b';a="b;\tc !#[]~\x80\xff\\"\\\\\\\x80\\ \\\t"',
        b";!#$%&'*+-.^_`|~09azAZ=!#$%&'*+-.^_`|~09azAZ",
    ],
)
def test_extensions_of_chunks_do_not_cross(extension):
    raw = b"5%b\r\nhello\r\n1\r\n!\r\n0%b\r\n\r\n" % (extension, extension)

    assert_is_relayed_as(raw, b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "size",
    [
        b"",
        b"g",
        b"-1",
        b"+5",
        b"0x5",
        b" 5",
        b"5 ",
        b"5\t",
        b"5\n",
        b"5\r",
        b"5,5",
        b"5\x00",
        b"00000000000000005",
        b"5;",
        b"5;;a",
        b"5;=a",
        b"5; a",
        b"5 ;a",
        b"5;a ",
        b"5;a=",
        b"5;a =b",
        b"5;a= b",
        b"5;a=b c",
        b'5;a="b',
        b'5;a="b"c',
        b'5;a="\\"',
        b'5;a="\x00"',
        b'5;a="\x7f"',
        b'5;a="\\\x7f"',
        b'5;a="\\\x1f"',
        b"5;a\x00",
        b"5;a\rb",
        b"5;a\nb",
        b"5;(a)",
        b"5;a=(b)",
        b"5;\x80",
    ],
)
def test_a_size_line_that_two_readers_could_read_differently_is_refused(size):
    assert_is_refused(size + b"\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize("line", [b"g", b"5\n", b"5 ", b"5\rX", b"5;a\n", b"5;\x00", b"\r", b";a", b"1" * 17])
def test_a_size_line_that_can_not_become_good_any_more_is_not_waited_for(line):
    with pytest.raises(Refusal):
        chunked().feed(line)


@pytest.mark.parametrize("line", [b"", b"5", b"5\r", b"5;", b"5;a", b"5;a\r", b"f" * 16, b"5;a=" + b"b" * 4000])
def test_a_size_line_whose_rest_may_still_come_is_held_back(line):
    body = chunked()

    assert body.feed(line) == (b"", b"")
    assert not body.done
    assert not body.end_of_stream()


@pytest.mark.parametrize("end", [b"X", b"\n", b"\rX", b"X\n", b"\r\r\n", b"\n\r", b"XX\r\n"])
def test_a_chunk_that_is_longer_than_its_size_says_is_refused(end):
    assert_is_refused(b"5\r\nhello" + end + b"0\r\n\r\n")


def test_a_chunk_whose_line_end_is_cut_in_two_is_waited_for():
    body = chunked()

    assert body.feed(b"5\r\nhello\r") == (b"5\r\nhello", b"")
    assert body.feed(b"\n0\r\n\r\n") == (b"\r\n0\r\n\r\n", b"")
    assert body.done


def test_a_chunk_is_relayed_while_it_comes():
    body = chunked()

    assert body.feed(b"5\r\nhe") == (b"5\r\nhe", b"")
    assert body.feed(b"l") == (b"l", b"")
    assert body.feed(b"lo") == (b"lo", b"")
    assert body.feed(b"\r\n") == (b"\r\n", b"")


def test_chunks_that_need_no_change_pass_without_a_copy():
    data = b"5\r\nhello\r\n"

    assert chunked().feed(data)[0] is data


def test_a_size_line_that_is_not_whole_yet_is_waited_for_up_to_what_a_whole_one_may_have():
    line = b"1" * 16 + b";" + b"a" * (EXTENSIONS_MAX + 1)

    assert chunked().feed(line) == (b"", b"")
    with pytest.raises(Refusal, match="size"):
        chunked().feed(line + b"a")


def test_extensions_are_bounded_over_all_chunks_of_a_body():
    extension = b";" + b"a" * 1023  # 1,024 bytes
    assert 4 * len(extension) == EXTENSIONS_MAX
    fits = (b"1" + extension + b"\r\nx\r\n") * 4

    assert fed(chunked(), fits + b"0\r\n\r\n" + NEXT) == (b"1\r\nx\r\n" * 4 + b"0\r\n\r\n", NEXT)
    for one_more in (b"1;a\r\nx\r\n", b"1;a\r\n"):
        body = chunked()
        with pytest.raises(Refusal, match="extensions"):
            fed(body, fits, one_more)


def test_an_extension_that_does_not_end_is_refused_soon():
    with pytest.raises(Refusal, match="malformed"):
        fed(chunked(), b"5;a=", *[b"b" * 1024] * 5)


# Trailers


@pytest.mark.parametrize(
    "trailer",
    [b"X-A: 1", b"x-a:1", b"X-A:", b"X-A: \t", b"X-A: a b\tc\x80\xff~", b"!#$%&'*+-.^_`|~09azAZ: 1"],
)
def test_trailers_cross_only_where_they_are_wanted(trailer):
    raw = b"1\r\nx\r\n0\r\n%b\r\nX-B: 2\r\n\r\n" % trailer

    assert_is_relayed_as(raw, b"1\r\nx\r\n0\r\n\r\n")
    assert_is_relayed_as(raw, raw, trailers=True)


FORBIDDEN = [
    "Authorization",
    "Cache-Control",
    "Connection",
    "Content-Encoding",
    "Content-Range",
    "Content-Type",
    "Cookie",
    "Expect",
    "Host",
    "Keep-Alive",
    "Location",
    "Max-Forwards",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Set-Cookie",
    "TE",
    "Trailer",
    "Upgrade",
    "WWW-Authenticate",
]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_trailer_that_would_change_the_message_does_not_cross_even_where_they_are_wanted(name):
    for spelling in (name, name.lower(), name.upper()):
        raw = b"0\r\n%b: x\r\nX-A: 1\r\n\r\n" % spelling.encode()
        assert_is_relayed_as(raw, b"0\r\nX-A: 1\r\n\r\n", trailers=True)


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"CONTENT-LENGTH", b"Transfer-Encoding"])
def test_a_trailer_that_would_change_the_framing_is_refused(name):
    for wanted in (False, True):
        assert_is_refused(b"0\r\nX-A: 1\r\n%b: 1\r\n\r\n" % name, trailers=wanted)


@pytest.mark.parametrize(
    "line",
    [
        b"X-A",
        b": 1",
        b"X A: 1",
        b" X-A: 1",
        b"X-A : 1",
        b"X-A: \x00",
        b"X-A: \x7f",
        b"X-A: a\rb",
        b"(X): 1",
        b"X\x80: 1",
    ],
)
def test_a_malformed_trailer_is_refused(line):
    for wanted in (False, True):
        assert_is_refused(b"0\r\n%b\r\n\r\n" % line, trailers=wanted)


@pytest.mark.parametrize("rest", [b"X-A: 1\n\r\n", b"X-A: 1\nX-B: 2\r\n\r\n", b"\n"])
def test_a_trailer_line_without_cr_is_refused(rest):
    with pytest.raises(Refusal):
        fed(chunked(), b"0\r\n" + rest)


def test_trailers_are_bounded_in_all_and_while_one_still_comes():
    line = b"X-A: " + b"a" * 1019  # 1,024 bytes
    sixteen = b"0\r\n" + (line + b"\r\n") * 16

    assert fed(chunked(), sixteen + b"\r\n" + NEXT) == (b"0\r\n\r\n", NEXT)
    with pytest.raises(Refusal):
        fed(chunked(), sixteen, b"X: 1\r\n\r\n")
    with pytest.raises(Refusal):
        fed(chunked(), b"0\r\nX-A: ", *[b"a" * 1024] * 17)
    body = chunked()
    assert body.feed(b"0\r\nX-A: " + b"a" * (16 * 1024 - 5)) == (b"0\r\n", b"")


def test_what_comes_before_a_trailer_that_is_dropped_is_relayed_once():
    body = chunked()

    assert body.feed(b"0\r\n") == (b"0\r\n", b"")
    assert body.feed(b"X-A: 1\r\n") == (b"", b"")
    assert body.feed(b"\r\n") == (b"\r\n", b"")
    assert body.done


# Whatever comes


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.data())
def test_any_chunks_cut_anywhere_come_to_the_same_bytes(chunks, data):
    raw = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    whole = raw + NEXT
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=8)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert fed(chunked(), *pieces) == (raw, NEXT)
    assert fed(chunked(decode=True), *pieces) == (b"".join(chunks), NEXT)


@given(st.text('0123456789abcdefg;="\\ \t\r\nxX:-', max_size=60).map(str.encode))
def test_whatever_is_relayed_of_anything_is_well_formed_chunks(raw):
    body = chunked()
    try:
        relayed, beyond = body.feed(raw)
    except Refusal:
        return

    assert raw.endswith(beyond)
    if body.done:
        assert re.fullmatch(rb"(?s)(?:[0-9a-fA-F]+\r\n.*\r\n)*0+\r\n\r\n", relayed)


# Which of them a request has


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ([], NoBody),
        ([b"\nContent-Length: 0"], NoBody),
        ([b"\nContent-Length: 1"], CountedBody),
        ([b"\nTransfer-Encoding: chunked"], ChunkedBody),
    ],
)
def test_the_fields_say_where_the_body_of_a_request_ends(lines, kind):
    assert type(request_body(RequestFields(lines))) is kind


def test_the_chunks_of_a_request_are_refused_as_a_bad_request_and_pass_as_they_are():
    body = request_body(RequestFields([b"\nTransfer-Encoding: chunked"]))

    assert body.feed(b"1\r\nx\r\n") == (b"1\r\nx\r\n", b"")
    with pytest.raises(Refusal) as refused:
        body.feed(b"x\r\n")
    assert refused.value.problem is BAD


def test_a_counted_request_body_has_the_length_that_was_written():
    assert request_body(RequestFields([b"\nContent-Length: 17"])).left == 17


def test_a_chunk_that_is_longer_than_its_size_says_is_not_waited_for():
    for end in (b"X", b"\n"):
        with pytest.raises(Refusal):
            chunked().feed(b"5\r\nhello" + end)
        with pytest.raises(Refusal):
            chunked(decode=True).feed(b"5\r\nhello" + end)


def test_decoded_chunks_are_relayed_while_they_come():
    body = chunked(decode=True)

    assert body.feed(b"5\r\nhe") == (b"he", b"")
    assert body.feed(b"llo") == (b"llo", b"")
    assert body.feed(b"\r") == (b"", b"")
    assert body.feed(b"\n1;a\r\n!\r\n0\r\n") == (b"!", b"")
    assert body.feed(b"\r\n" + NEXT) == (b"", NEXT)
