"""What a request says about its own length: one reading only, or none (RFC 9112 §6 and §7)."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.scripts import OK_BODY
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHUNKED = b"Transfer-Encoding: chunked"
ONE_CHUNK = b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def bodied(*rows: tuple[str, list[bytes], bytes]) -> list[object]:
    """Turn rows of name, fields and body into parameters."""
    return [pytest.param(fields, body, id=name) for name, fields, body in rows]


def named(**rows: bytes) -> list[object]:
    return [pytest.param(value, id=name) for name, value in rows.items()]


@pytest.mark.case("D-101")
@pytest.mark.parametrize(
    ("fields", "body"),
    bodied(
        ("length-first", [b"Content-Length: 5", CHUNKED], ONE_CHUNK),
        ("coding-first", [CHUNKED, b"Content-Length: 5"], ONE_CHUNK),
        ("length-hides-a-request", [b"Content-Length: %d" % (5 + len(SMUGGLED)), CHUNKED], b"0\r\n\r\n" + SMUGGLED),
        (
            "chunks-hide-a-request",
            [CHUNKED, b"Content-Length: 4"],
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
        ),
        ("length-nought", [b"Content-Length: 0", CHUNKED], b"0\r\n\r\n" + SMUGGLED),
    ),
)
async def test_a_request_with_a_length_and_a_transfer_coding_is_refused(case: Case, fields: list[bytes], body: bytes):
    await case.assert_refused(case.request(*fields, method=b"POST", body=body))


@pytest.mark.case("D-102", "D-103")
@pytest.mark.parametrize(
    ("fields", "body"),
    bodied(
        ("different", [b"Content-Length: 5", b"Content-Length: 6"], b"hello!"),
        ("different-list", [b"Content-Length: 5, 6"], b"hello!"),
        ("equal", [b"Content-Length: 5", b"Content-Length: 5"], b"hello"),
        ("equal-list", [b"Content-Length: 5, 5"], b"hello"),
        ("equal-in-other-case", [b"Content-Length: 5", b"content-length: 5"], b"hello"),
    ),
)
async def test_a_request_with_two_lengths_is_refused_even_when_they_agree(case: Case, fields: list[bytes], body: bytes):
    await case.assert_refused(case.request(*fields, method=b"POST", body=body))


@pytest.mark.case("D-104", "D-105")
@pytest.mark.parametrize(
    "length",
    named(
        plus=b"+5",
        minus=b"-1",
        hexadecimal=b"0x5",
        underscore=b"1_0",
        two_numbers=b"5 5",
        empty=b"",
        blank=b" ",
        arabic_indic="\u0665".encode(),
        beyond_64_bits=b"18446744073709551617",
        beyond_63_bits=b"9223372036854775808",
        leading_noughts=b"005",
        noughts=b"00",
        decimal_point=b"5.0",
        exponent=b"5e0",
        letter=b"5a",
        quoted=b'"5"',
        tab_before=b"\t5",
        tab_behind=b"5\t",
        tab_behind_a_space=b"5 \t",
    ),
)
async def test_a_length_that_is_not_a_plain_number_is_refused(case: Case, length: bytes):
    await case.assert_refused(case.request(b"Content-Length: " + length, method=b"POST", body=b"hello"))


@pytest.mark.case("D-106")
@pytest.mark.parametrize(
    "field", named(length=b"Content-Length : 5", coding=b"Transfer-Encoding : chunked", tab=b"Content-Length\t: 5")
)
async def test_a_space_before_the_colon_of_a_framing_field_is_refused(case: Case, field: bytes):
    await case.assert_refused(case.request(field, method=b"POST", body=ONE_CHUNK))


@pytest.mark.case("D-107", "D-108")
@pytest.mark.parametrize(
    "coding",
    named(
        lookalike=b"xchunked",
        chunked_not_last=b"chunked, identity",
        identity=b"identity",
        unknown=b"cow",
        compressed=b"gzip, chunked",
        suffix=b"chunkedx",
        parameter=b"chunked;q=1",
    ),
)
async def test_a_transfer_coding_other_than_chunked_is_refused(case: Case, coding: bytes):
    client = await case.connect()
    refused = await client.ask(case.request(b"Transfer-Encoding: " + coding, method=b"POST", body=ONE_CHUNK))
    assert (refused.status, refused.code) in {(501, "not_implemented"), (400, "bad_request")}
    assert await client.is_closed()
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-107")
async def test_a_quoted_transfer_coding_is_refused(case: Case):
    await case.assert_refused(case.request(b'Transfer-Encoding: "chunked"', method=b"POST", body=ONE_CHUNK))


@pytest.mark.case("D-108")
async def test_gzip_below_chunked_is_more_than_this_proxy_does(case: Case):
    raw = case.request(b"Transfer-Encoding: gzip, chunked", method=b"POST", body=ONE_CHUNK)
    await case.assert_refused(raw, 501, "not_implemented")


@pytest.mark.case("D-109", "D-110", "D-111", "D-112")
@pytest.mark.parametrize(
    "value",
    named(
        comma_before=b",chunked",
        comma_after=b"chunked,",
        comma_and_space=b"chunked , ",
        empty=b"",
        only_comma=b",",
        twice_in_a_list=b"chunked, chunked",
        vertical_tab_before=b"\x0bchunked",
        vertical_tab_after=b"chunked\x0b",
        form_feed=b"\x0cchunked",
        nul=b"chunked\x00",
        no_break_space=b"\xa0chunked",
        next_line=b"chunked\x85",
        utf8_space="\u2003chunked".encode(),
    ),
)
async def test_a_doubtful_spelling_of_chunked_is_refused(case: Case, value: bytes):
    await case.assert_refused(case.request(b"Transfer-Encoding: " + value, method=b"POST", body=ONE_CHUNK))


@pytest.mark.case("D-110", "D-111", "D-113")
@pytest.mark.parametrize(
    ("fields", "body"),
    bodied(
        ("empty-coding-and-length", [b"Transfer-Encoding:", b"Content-Length: 5"], b"hello"),
        ("coding-twice", [CHUNKED, CHUNKED], ONE_CHUNK),
        ("coding-and-another", [CHUNKED, b"Transfer-Encoding: identity"], ONE_CHUNK),
        ("underscore-coding-and-length", [b"Transfer_Encoding: chunked", b"Content-Length: 5"], b"hello"),
        ("underscore-coding", [b"Transfer_Encoding: chunked"], ONE_CHUNK),
        ("underscore-length", [b"Content_Length: 5"], b"hello"),
    ),
)
async def test_a_second_or_masked_framing_field_is_refused(case: Case, fields: list[bytes], body: bytes):
    await case.assert_refused(case.request(*fields, method=b"POST", body=body))


@pytest.mark.case("D-114")
async def test_a_transfer_coding_in_an_http_1_0_request_is_refused(case: Case):
    raw = case.raw(b"POST %s/x HTTP/1.0" % case.prefix, case.host, CHUNKED, body=ONE_CHUNK)
    await case.assert_refused(raw)


BAD_CHUNKS = named(
    hexadecimal_prefix=b"0x5\r\nhello\r\n0\r\n\r\n",
    plus=b"+5\r\nhello\r\n0\r\n\r\n",
    minus=b"-1\r\nhello\r\n0\r\n\r\n",
    underscore=b"0_5\r\nhello\r\n0\r\n\r\n",
    leading_space=b" 5\r\nhello\r\n0\r\n\r\n",
    seventeen_digits=b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    beyond_64_bits=b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    no_digits=b"\r\nhello\r\n0\r\n\r\n",
    letter=b"Z\r\nhello\r\n0\r\n\r\n",
    trailing_space=b"5 \r\nhello\r\n0\r\n\r\n",
    trailing_tab=b"5\t\r\nhello\r\n0\r\n\r\n",
    bare_lf_after_size=b"5\nhello\r\n0\r\n\r\n",
    bare_lf_after_data=b"5\r\nhello\n0\r\n\r\n",
    bare_lf_at_the_end=b"5\r\nhello\r\n0\r\n\n",
    bare_lf_after_the_last_size=b"5\r\nhello\r\n0\n\r\n",
    bare_cr_after_size=b"5\rhello\r\n0\r\n\r\n",
    bare_cr_after_data=b"5\r\nhello\r0\r\n\r\n",
    data_longer_than_size=b"5\r\nhello!!\r\n0\r\n\r\n",
    no_line_end_after_data=b"5\r\nhello0\r\n\r\n",
    extension_with_lf=b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    extension_with_cr=b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    extension_with_nul=b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
    extension_without_a_name=b"5;\r\nhello\r\n0\r\n\r\n",
    long_extension=b"5;" + b"a" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
    many_extensions=(b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 8 + b"0\r\n\r\n",
    extension_on_the_last_chunk=b"5\r\nhello\r\n0;" + b"a" * 5000 + b"\r\n\r\n",
    trailer_content_length=b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    trailer_transfer_encoding=b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    trailer_without_colon=b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    trailer_with_bare_lf=b"5\r\nhello\r\n0\r\nX-T: 1\n\r\n",
    trailer_folded=b"5\r\nhello\r\n0\r\nX-T: 1\r\n 2\r\n\r\n",
)


@pytest.mark.case("D-115", "D-116", "D-117", "D-119", "D-120", "D-123")
@pytest.mark.parametrize("body", BAD_CHUNKS)
async def test_a_malformed_chunked_body_never_ends_well_at_the_upstream(case: Case, body: bytes):
    client = await case.connect()
    await client.send(case.request(CHUNKED, method=b"POST", body=body))
    refused = await client.response("POST")
    assert (refused.status, refused.code) == (400, "bad_request")
    assert await client.is_closed()
    assert case.upstream_requests <= 1
    for request in case.upstream.requests:
        async with asyncio.timeout(15):
            await request.gone()
        assert not request.body_complete


@pytest.mark.case("D-115", "D-117")
@pytest.mark.parametrize(
    "rest",
    named(size=b"0x5\r\nhello\r\n0\r\n\r\n", spill=b"5\r\nhello!!\r\n0\r\n\r\n", extension=b"5;\r\nhello\r\n0\r\n\r\n"),
)
async def test_a_chunk_that_goes_wrong_later_aborts_the_upstream_request(case: Case, rest: bytes):
    client = await case.connect()
    await client.send(case.request(CHUNKED, method=b"POST", body=b"5\r\nhello\r\n"))
    request = await case.upstream.arrived()
    await client.send(rest)
    refused = await client.response("POST")
    assert (refused.status, refused.code) == (400, "bad_request")
    assert await client.is_closed()
    async with asyncio.timeout(15):
        await request.gone()
    assert not request.body_complete
    assert case.upstream_requests == 1


@pytest.mark.case("D-118")
@pytest.mark.parametrize(
    "body",
    named(
        name=b"5;a\r\nhello\r\n0\r\n\r\n",
        value=b"5;a=b\r\nhello\r\n0\r\n\r\n",
        quoted=b'5;a="b c;\\""\r\nhello\r\n0\r\n\r\n',
        several=b"5;a=b;c;d=e\r\nhello\r\n0\r\n\r\n",
        on_the_last=b"5\r\nhello\r\n0;a=b\r\n\r\n",
        in_two_chunks=b"2;a=b\r\nhe\r\n3;c\r\nllo\r\n0\r\n\r\n",
    ),
)
async def test_a_chunk_extension_is_dropped_and_the_body_kept(case: Case, body: bytes):
    response = await case.ask(case.request(CHUNKED, method=b"POST", body=body))
    assert (response.status, response.body) == (200, OK_BODY)
    [request] = case.upstream.requests
    assert request.body == b"hello"
    assert b";" not in request.raw_body


@pytest.mark.case("D-118", "D-124")
@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_a_chunked_body_passes_whole_wherever_the_network_cuts_it(case: Case, size: int):
    raw = case.request(CHUNKED, method=b"POST", body=b"5;a=b\r\nhello\r\nA\r\n, world, 1\r\n0\r\nX-T: 1\r\n\r\n")
    client = await case.connect()
    for at in range(0, len(raw), size):
        await client.send(raw[at : at + size])
    assert (await client.response("POST")).status == 200
    [request] = case.upstream.requests
    assert (request.body, request.trailers) == (b"hello, world, 1", b"")


@pytest.mark.case("D-121", "D-122")
@pytest.mark.parametrize(
    "trailer",
    named(
        ordinary=b"X-T: 1",
        credential=b"Authorization: Bearer canary-client",
        host=b"Host: evil.example",
        cookie=b"Cookie: a=b",
        several=b"X-T: 1\r\nX-U: 2",
    ),
)
async def test_trailers_of_a_request_are_dropped_and_never_merged(case: Case, trailer: bytes):
    raw = case.request(CHUNKED, b"Trailer: X-T", method=b"POST", body=b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n")
    response = await case.ask(raw)
    assert (response.status, response.body) == (200, OK_BODY)
    [request] = case.upstream.requests
    assert (request.body, request.trailers) == (b"hello", b"")
    assert request.values(b"authorization") == [f"Bearer {case.token()}".encode()]
    assert len(request.values(b"host")) == 1
    assert request.values(b"x-t") == request.values(b"cookie") == request.values(b"trailer") == []


@pytest.mark.case("D-124")
async def test_a_million_one_byte_chunks_pass(case: Case):
    count = 1_000_000
    client = await case.connect()
    sending = asyncio.create_task(
        client.send(case.request(CHUNKED, method=b"POST", body=b"1\r\nx\r\n" * count + b"0\r\n\r\n"))
    )
    response = await client.response("POST")
    await sending
    assert (response.status, response.body) == (200, OK_BODY)
    [request] = case.upstream.requests
    assert request.body == b"x" * count
