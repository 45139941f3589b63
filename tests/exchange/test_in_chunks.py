"""What a body is made into whose client would not see a cut otherwise."""

import pytest

from proxy.exchange.in_chunks import announced, chunk
from proxy.wire.request import HeadLimits
from proxy.wire.response import parse_response

LIMITS = HeadLimits(size=2000, line=500, fields=20, target=300)


@pytest.mark.parametrize(
    ("data", "last", "framed"),
    [
        (b"", False, b""),
        (b"", True, b"0\r\n\r\n"),
        (b"a" * 26, False, b"1a\r\n" + b"a" * 26 + b"\r\n"),
        (b"\r\n", True, b"2\r\n\r\n\r\n0\r\n\r\n"),
    ],
)
def test_a_piece_is_a_chunk_and_nothing_is_none_before_the_end(data, last, framed):
    assert chunk(data, last=last) == framed


def test_a_head_says_so_and_others_with_the_same_fields_do_not():
    raw = b"HTTP/1.0 200 OK\r\nConnection: close\r\nX-A: 1\r\n\r\n"
    before, other = parse_response(raw, LIMITS), parse_response(raw, LIMITS)

    said = announced(before)

    assert said.raw == raw[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    assert (said.status, said.version, said.size, said.fields.chunked) == (200, 0, len(said.raw), True)
    assert said.fields.cuts == before.fields.cuts
    assert (before.fields.chunked, other.fields.chunked) == (False, False)
