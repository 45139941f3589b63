"""What a request head may look like: what two readers could read differently is refused (RFC 9112 §2 to §5)."""

from __future__ import annotations

import pytest

from tests.support.scripts import OK_BODY
from tests.support.stage import Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTROLS = [byte for byte in (*range(0x20), 0x7F) if byte != 0x09]


def named(**rows: bytes) -> list[object]:
    return [pytest.param(value, id=name) for name, value in rows.items()]


@pytest.mark.case("D-125")
@pytest.mark.parametrize("byte", CONTROLS, ids=lambda byte: f"{byte:02x}")
async def test_a_control_character_in_a_field_value_is_refused(case: Case, byte: int):
    await case.assert_refused(case.request(b"X-A: a%cb" % byte))


@pytest.mark.case("D-125")
@pytest.mark.parametrize("byte", [0x00, 0x0A, 0x0D, 0x1F, 0x7F], ids=lambda byte: f"{byte:02x}")
async def test_a_control_character_at_the_edge_of_a_value_is_refused(case: Case, byte: int):
    await case.assert_refused(case.request(b"X-A: %c" % byte, b"X-B: 1"))


@pytest.mark.case("D-125")
async def test_lines_that_end_in_a_bare_lf_are_refused(case: Case):
    await case.assert_refused(case.request(b"X-A: 1").replace(b"\r\n", b"\n"))


@pytest.mark.case("D-125")
@pytest.mark.parametrize("line", [0, 1, 2])
async def test_one_line_that_ends_in_a_bare_lf_is_refused(case: Case, line: int):
    lines = case.request(b"X-A: 1").split(b"\r\n")
    lines[line : line + 2] = [lines[line] + b"\n" + lines[line + 1]]
    await case.assert_refused(b"\r\n".join(lines))


@pytest.mark.case("D-126")
async def test_bytes_beyond_ascii_in_a_value_pass_as_they_are(case: Case):
    value = bytes(range(0x80, 0x100)) + b"\t" + "é€".encode()
    assert (await case.ask(case.request(b"X-A: a" + value + b"z"))).status == 200
    assert case.upstream.requests[0].values(b"x-a") == [b"a" + value + b"z"]


@pytest.mark.case("D-127", "D-128")
@pytest.mark.parametrize(
    "field",
    named(
        folded=b"X-A: 1\r\n 2",
        folded_by_tab=b"X-A: 1\r\n\t2",
        folded_coding=b"Transfer-Encoding:\r\n chunked",
        folded_blank=b"X-A: 1\r\n ",
        empty_name=b": 1",
        no_colon=b"X-A",
        space_in_name=b"X A: 1",
        space_after_name=b"X-A : 1",
        next_line_in_name=b"X\x85A: 1",
        obs_text_in_name=b"X\xe9A: 1",
        brackets_in_name=b"X[A]: 1",
        parentheses=b"X(A): 1",
        slash_in_name=b"X/A: 1",
        quote_in_name=b'X"A: 1',
        comma_in_name=b"X,A: 1",
        nul_in_name=b"X\x00A: 1",
        at_in_name=b"X@A: 1",
    ),
)
async def test_a_folded_line_or_an_impossible_name_is_refused(case: Case, field: bytes):
    await case.assert_refused(case.request(field, b"X-Z: 9"))


@pytest.mark.case("D-127")
@pytest.mark.parametrize("space", named(space=b" ", tab=b"\t", blank_line=b" \r\n"))
async def test_whitespace_before_the_first_field_is_refused(case: Case, space: bytes):
    await case.assert_refused(case.request().replace(b"Host:", space + b"Host:"))


@pytest.mark.case("D-129")
@pytest.mark.parametrize(
    "name",
    named(
        length=b"Content_Length",
        coding=b"transfer_encoding",
        keep_alive=b"Keep_Alive",
        proxy=b"Proxy_Authorization",
        proxy_connection=b"Proxy_Connection",
        settings=b"HTTP2_Settings",
    ),
)
async def test_an_underscore_spelling_of_a_sensitive_field_is_refused(case: Case, name: bytes):
    await case.assert_refused(case.request(name + b": 5"))


@pytest.mark.case("D-129")
async def test_any_other_name_with_an_underscore_passes(case: Case):
    assert (await case.ask(case.request(b"X_Custom_Name: 1"))).status == 200
    assert (b"X_Custom_Name", b"1") in case.upstream.requests[0].fields


@pytest.mark.case("D-130")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"X-A: " + b"a" * 16_384], id="line"),
        pytest.param([b"X-%d: " % n + b"a" * 8_000 for n in range(9)], id="block"),
        pytest.param([b"X-%d: 1" % n for n in range(128)], id="count"),
    ],
)
async def test_a_head_beyond_its_limits_is_refused(case: Case, fields: list[bytes]):
    await case.assert_refused(case.request(*fields), 431, "headers_too_large")


@pytest.mark.case("D-130")
async def test_an_endless_head_is_refused_before_it_ends(case: Case):
    raw = case.request()[:-2] + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 4_000) for n in range(20))
    await case.assert_refused(raw, 431, "headers_too_large")


@pytest.mark.case("D-130")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"X-A: " + b"a" * (16_384 - 5)], id="line"),
        pytest.param([b"X-%d: 1" % n for n in range(127)], id="count"),
    ],
)
async def test_a_head_at_its_limits_passes_whole(case: Case, fields: list[bytes]):
    assert (await case.ask(case.request(*fields))).status == 200
    assert [b"%s: %s" % pair for pair in case.upstream.requests[0].fields if pair[0].startswith(b"X-")] == fields


@pytest.mark.case("D-131")
@pytest.mark.parametrize(
    "version", named(two=b"HTTP/2.0", one_two=b"HTTP/1.2", three=b"HTTP/3.0", one_nine=b"HTTP/1.9")
)
async def test_another_version_of_http_is_not_spoken(case: Case, version: bytes):
    await case.assert_refused(case.request().replace(b"HTTP/1.1", version), 505, "version_not_supported")


@pytest.mark.case("D-131")
async def test_the_preface_of_http_2_is_not_spoken(case: Case):
    await case.assert_refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_not_supported")


@pytest.mark.case("D-131")
@pytest.mark.parametrize(
    "version",
    named(
        lower_case=b" http/1.1",
        leading_nought=b" HTTP/01.1",
        two_digits=b" HTTP/1.10",
        none=b"",
        no_minor=b" HTTP/1",
        comma=b" HTTP/1,1",
        other_protocol=b" HTCPCP/1.1",
        space_after=b" HTTP/1.1 ",
        icap=b" ICAP/1.0",
    ),
)
async def test_a_misspelt_version_is_refused(case: Case, version: bytes):
    await case.assert_refused(case.request().replace(b" HTTP/1.1", version))


@pytest.mark.case("D-136")
@pytest.mark.parametrize("method", named(lower=b"get", mixed=b"Post", long=b"M" * 100, beyond_32=b"M" * 33))
async def test_a_method_in_lower_case_or_without_measure_is_not_implemented(case: Case, method: bytes):
    await case.assert_refused(case.request(method=method), 501, "not_implemented")


@pytest.mark.case("D-136")
@pytest.mark.parametrize(
    "method", named(colon=b"G:T", bracket=b"G[T", quote=b'"GET"', obs_text=b"G\xe9T", control=b"G\x01T", at=b"@GET")
)
async def test_a_method_that_is_no_token_is_refused(case: Case, method: bytes):
    await case.assert_refused(case.request(method=method))


@pytest.mark.case("D-136")
@pytest.mark.parametrize(
    "method", named(unknown=b"FOO", webdav=b"PROPFIND", patch=b"PATCH", query=b"QUERY", odd=b"X-A_b.1", long=b"M" * 32)
)
async def test_an_unknown_method_is_relayed(case: Case, method: bytes):
    response = await case.ask(case.request(method=method))
    assert (response.status, response.body) == (200, OK_BODY)
    assert case.upstream.requests[0].line == method + b" /x HTTP/1.1"


@pytest.mark.case("D-137")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="none"),
        pytest.param([b"Host: localhost", b"Host: localhost"], id="two"),
        pytest.param([b"Host: localhost", b"host: evil.example"], id="two-different"),
        pytest.param([b"Host:"], id="empty"),
        pytest.param([b"Host: localhost, evil.example"], id="list"),
        pytest.param([b"Host: user@localhost"], id="user-information"),
        pytest.param([b"Host: localhost/path"], id="path"),
        pytest.param([b"Host: localhost:8o"], id="junk-port"),
        pytest.param([b"Host: localhost:"], id="empty-port"),
        pytest.param([b"Host: localhost:99999"], id="port-too-large"),
        pytest.param([b"Host: localhost:80:80"], id="two-ports"),
        pytest.param(["Host: lócalhost".encode()], id="not-ascii"),
        pytest.param([b"Host: http://localhost"], id="url"),
        pytest.param([b"Host: local host"], id="space"),
        pytest.param([b"Host: localhost?a"], id="query"),
        pytest.param([b"Host: localhost\\a"], id="backslash"),
        pytest.param([b"Host: [::1"], id="half-a-bracket"),
    ],
)
async def test_a_host_that_is_not_one_plain_host_is_refused(case: Case, fields: list[bytes]):
    await case.assert_refused(case.raw(b"GET %s/x HTTP/1.1" % case.prefix, *fields))


@pytest.mark.case("D-138")
async def test_a_blank_line_before_the_request_is_ignored(case: Case):
    assert (await case.ask(b"\r\n" + case.request())).status == 200
    assert case.upstream_requests == 1


@pytest.mark.case("D-138")
async def test_a_blank_line_may_come_in_two_packets(case: Case):
    client = await case.connect()
    await client.send(b"\r")
    async with case.stage.process.frozen():  # it has read the first byte by itself
        await client.send(b"\n" + case.request())
    assert (await client.response()).status == 200
    assert case.upstream_requests == 1


@pytest.mark.case("D-138")
async def test_a_blank_line_behind_the_last_request_is_no_request(case: Case):
    client = await case.connect()
    await client.send(case.request() + b"\r\n")
    client.half_close()
    assert (await client.response()).status == 200
    assert await client.is_closed()


@pytest.mark.case("D-138")
@pytest.mark.parametrize("blanks", named(many=b"\r\n" * 1000, nine=b"\r\n" * 9, bare=b"\n"))
async def test_many_blank_lines_before_the_request_are_refused(case: Case, blanks: bytes):
    await case.assert_refused(blanks + case.request())


@pytest.mark.case("D-147")
@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT"])
async def test_a_method_that_would_show_or_bypass_the_credential_is_refused(case: Case, method: bytes):
    refused = await case.ask(case.request(b"Max-Forwards: 3", method=method))
    assert (refused.status, refused.code) == (405, "method_not_allowed")
    assert (case.upstream_requests, case.token_requests) == (0, 0)


@pytest.mark.case("D-147")
async def test_connect_to_a_host_and_port_is_refused_on_a_reverse_listener(case: Case):
    refused = await case.ask(case.raw(b"CONNECT localhost:443 HTTP/1.1", b"Host: localhost:443"))
    assert (refused.status, refused.code) == (405, "method_not_allowed")


@pytest.mark.case("D-147")
async def test_options_counts_its_forwards_down(case: Case):
    assert (await case.ask(case.request(b"Max-Forwards: 3", method=b"OPTIONS"))).status == 200
    assert case.upstream.requests[0].values(b"max-forwards") == [b"2"]


@pytest.mark.case("D-147")
async def test_options_without_forwards_left_is_answered_here(case: Case):
    response = await case.ask(case.request(b"Max-Forwards: 0", method=b"OPTIONS"))
    assert response.status in {200, 204}
    assert case.upstream_requests == 0
