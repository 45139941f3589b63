"""The compiled scanner beside the pure modules: the same heads, the same refusals, and what it does take it takes."""

import os
import random
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.wire.request import HeadLimits
from tests.fuzz import same
from tests.fuzz.corpus import GOOD, HOSTILE, HOSTILE_RESPONSES, RESPONSES
from tests.fuzz.mutators import spoilt
from tests.wire.test_names import IN_REQUESTS, IN_RESPONSES

pytestmark = pytest.mark.needs("accelerator")

LIMITS = HeadLimits(64 * 1024, 16 * 1024, 128, 16 * 1024)
SMALL = HeadLimits(size=120, line=30, fields=3, target=20)
REQUEST = b"GET /v1/a?b=%2F HTTP/1.1\r\nHost: a.example:80\r\nX-Id:\tcaf\xe9 \r\nConnection: keep-alive\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\nConnection: keep-alive\r\nX-Id:7\r\n\r\n"
BOTH = [(same.check_request, REQUEST), (same.check_response, RESPONSE)]
VALUES = [
    b"", b"1", b"0", b"00", b"17", b"9" * 18, b"9" * 19, b"1 ", b"\t1", b"+1", b"1,1", b"chunked", b"Chunked",
    b"chunked\t", b"gzip, chunked", b"identity", b"keep-alive", b"Keep-Alive", b"close", b"upgrade", b"x-a, host",
    b"websocket", b"h2c", b"a.example", b"A:80", b"a:99999", b"[::1]:80", b"a b", b"trailers", b"100-continue",
    b"timeout=5", b"/x", b"same-origin", b"caf\xe9", b"a\x7f", b"a\x00b", b"Basic eA==",
]  # fmt: skip
TARGETS = [
    b"/", b"//", b"/a?b?c", b"/%zz", b"/[]|~^\\", b"*", b"**", b"?x", b"x", b"a:1", b"http://a", b"http://a/",
    b"http://a?b", b"http://a:b:c/", b"http:///x", b"http://u@a/x", b"http://[::1]/", b"HTTP://a/", b"https://a/", b"http://a#b",
    b"http://-.:/x", b"http://a;b/", b"http:/a", b"http://", b"/" + b"a" * 300,
]  # fmt: skip
METHODS = [b"GET", b"POST", b"CONNECT", b"OPTIONS", b"HEAD", b"FOO", b"get", b"G", b"PURGE", b"GETT", b"PRI", b"A" * 33]
LINES = [
    b"HTTP/1.1 %b" % rest for rest in (b"200", b"200 ", b"200  ", b"101 S", b"099 x", b"1000", b"204 \xe9\t", b"2OO")
]


def plain(name, value):
    return b"GET / HTTP/1.1\r\nHost: a\r\n%b: %b\r\n\r\n" % (name, value)


def answer(name, value, line=b"HTTP/1.1 200 OK"):
    return b"%b\r\n%b: %b\r\n\r\n" % (line, name, value)


# What is taken


def taken():
    from proxy.wire import scanner

    return scanner


@pytest.mark.parametrize(
    "raw",
    [
        REQUEST,
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12345\r\nConnection: close\r\n\r\nbody",
        b"GET /x HTTP/1.0\r\n\r\n",
        b"GET http://a.example:80/x HTTP/1.1\r\nhost: a.example:80\r\n\r\n",
        b"DELETE /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nOrigin: http://a\r\nVia: 1.1 b\r\n\r\n",
    ],
)
def test_a_plain_request_is_taken_without_the_pure_module(raw):
    head = taken().scan_request(raw, LIMITS)

    assert head is not None
    assert raw.startswith(head.method + b" " + head.target)


@pytest.mark.parametrize(
    "raw",
    [RESPONSE, answer(b"Location", b"/x", b"HTTP/1.0 302 Found"), b"HTTP/1.1 304 \r\n\r\n", b"HTTP/1.1 200\r\n\r\n"],
)
def test_a_plain_response_is_taken_without_the_pure_module(raw):
    head = taken().scan_response(raw, LIMITS)

    assert head is not None
    assert head.raw == raw


def test_framing_that_is_more_than_a_length_is_taken_once_it_is_known():
    chunked = b"POST / HTTP/1.1\r\nHost: chunked.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    scanner = taken()

    assert scanner.scan_request(chunked, LIMITS) is None
    assert scanner.parse_request(chunked, LIMITS).fields.chunked
    assert scanner.scan_request(chunked.replace(b"POST /", b"PUT /x"), LIMITS).fields.chunked


# The same as the pure modules


@pytest.mark.parametrize(("check", "raw"), BOTH)
def test_whatever_stands_at_any_place_both_say_the_same(check, raw):
    for at in range(len(raw)):
        for byte in range(256):
            one = bytes([byte])
            check(raw[:at] + one + raw[at + 1 :], LIMITS)
            if byte in b"\r\n \t:\x00a-":
                check(raw[:at] + one + raw[at:], LIMITS)
        check(raw[:at] + raw[at + 1 :], LIMITS)


@pytest.mark.parametrize(("check", "raw"), BOTH)
def test_wherever_a_packet_ends_both_say_the_same(check, raw):
    for at in range(len(raw) + 1):
        check(raw[:at], LIMITS)
        check(raw, LIMITS, at)
        check(raw + raw, LIMITS, at)


@pytest.mark.parametrize(("check", "raw"), BOTH)
def test_at_every_limit_both_say_the_same(check, raw):
    for size in range(len(raw) - 8, len(raw) + 2):
        check(raw, HeadLimits(size, 500, 20, 300))
    for most in range(30):
        check(raw, HeadLimits(2000, most, 20, 300))
        check(raw, HeadLimits(2000, 500, most, 300))
        check(raw, HeadLimits(2000, 500, 20, most))


@pytest.mark.parametrize(
    "name", [*IN_REQUESTS, *IN_RESPONSES, "Accept", "Hos", "Hostx", "Proxy-", "Proxy-1", "Sec-Fetch-"]
)
def test_of_every_field_and_value_both_say_the_same(name):
    for spelling in (name, name.lower(), name.upper(), name.swapcase(), name.replace("-", "_"), f"{name}x", name[:-1]):
        for value in VALUES:
            for before in (b"", b" ", b"  "):
                raw = spelling.encode() + b":" + before + value
                same.check_request(b"POST /x HTTP/1.1\r\nHost: a\r\n" + raw + b"\r\n\r\n", LIMITS)
                same.check_response(b"HTTP/1.1 200 OK\r\n" + raw + b"\r\n\r\n", LIMITS)


@pytest.mark.parametrize("name", [name.encode() for name in (*IN_REQUESTS, *IN_RESPONSES)])
def test_a_name_with_one_other_character_is_the_same_name_or_another_one_for_both(name):
    for at in range(len(name)):
        for byte in b"-_.aZ0\x20\x40\x5b\x60\x7b\xe5":
            other = name[:at] + bytes([byte]) + name[at + 1 :]
            same.check_request(plain(other, b"1"), LIMITS)
            same.check_response(answer(other, b"1"), LIMITS)


@pytest.mark.parametrize("first", VALUES)
def test_of_two_lines_about_the_framing_both_say_the_same(first):
    names = (b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Host")
    for second in (b"1", b"0", b"chunked", b"close", b"a"):
        for one in names:
            for other in names:
                lines = b"%b: %b\r\n%b: %b\r\n\r\n" % (one, first, other, second)
                for version in (b"1.0", b"1.1"):
                    same.check_request(b"POST /x HTTP/%b\r\nHost: a\r\n%b" % (version, lines), LIMITS)
                    same.check_response(b"HTTP/%b 200 OK\r\n%b" % (version, lines), LIMITS)


@pytest.mark.parametrize("target", TARGETS)
def test_of_every_form_of_a_target_both_say_the_same(target):
    for method in METHODS:
        for version in (b"1.0", b"1.1", b"1.2", b"2.0", b"1.10"):
            same.check_request(b"%b %b HTTP/%b\r\nHost: a\r\n\r\n" % (method, target, version), LIMITS)
            same.check_request(b"%b %b HTTP/%b\r\n\r\n" % (method, target, version), SMALL)


@pytest.mark.parametrize("line", LINES)
def test_of_every_status_line_both_say_the_same(line):
    for raw in (line, line.replace(b"1.1", b"1.0"), line.replace(b"1.1", b"1.2"), line.replace(b"HTTP", b"http")):
        for name, value in ((b"X", b"1"), (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked"), (b"X ", b"")):
            same.check_response(answer(name, value, raw), LIMITS)


def test_more_lines_than_it_keeps_are_no_matter():
    for number in (62, 63, 64, 65, 127, 128):
        same.check_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"Via: 1.1 a\r\n" * number + b"\r\n", LIMITS)
        same.check_response(b"HTTP/1.1 200 OK\r\n" + b"Location: /a\r\n" * number + b"\r\n", LIMITS)


def test_of_the_corpora_and_what_mutators_make_of_them_both_say_the_same():
    source = random.Random("both forms")
    asked = [*GOOD, *(each for many in HOSTILE.values() for each in many), REQUEST]
    answered = [*RESPONSES, *(each for many in HOSTILE_RESPONSES.values() for each in many), RESPONSE]
    for check, seeds in ((same.check_request, asked), (same.check_response, answered)):
        for seed in seeds:
            check(seed, LIMITS)
        for _ in range(4000):
            check(spoilt(source, source.choice(seeds)), source.choice((LIMITS, LIMITS, SMALL)))


FIELDS = st.lists(
    st.tuples(st.sampled_from([*IN_REQUESTS, *IN_RESPONSES, "X-A"]).map(str.encode), st.sampled_from(VALUES)),
    max_size=6,
)


@given(st.sampled_from(METHODS), st.sampled_from(TARGETS), FIELDS, st.binary(max_size=6))
@example(b"GET", b"/", [(b"Host", b"a")], b"")
def test_of_any_request_both_say_the_same(method, target, fields, behind):
    lines = b"".join(b"%b: %b\r\n" % each for each in fields)

    same.check_request(b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (method, target, lines, behind), LIMITS)


@given(st.sampled_from(LINES), FIELDS, st.binary(max_size=6))
def test_of_any_response_both_say_the_same(line, fields, behind):
    same.check_response(line + b"\r\n" + b"".join(b"%b: %b\r\n" % each for each in fields) + b"\r\n" + behind, LIMITS)


@given(st.binary(max_size=80))
def test_of_any_bytes_both_say_the_same(raw):
    same.check_request(raw, LIMITS)
    same.check_response(raw, LIMITS)
    same.check_request(b"GET /" + raw, SMALL)
    same.check_response(b"HTTP/1.1 2" + raw, SMALL)


def test_what_is_no_bytes_is_no_head():
    for read in (taken().parse_request, taken().parse_response):
        for wrong in (None, "GET / HTTP/1.1\r\n\r\n", bytearray(b"GET"), 1):
            with pytest.raises(TypeError):
                read(wrong, LIMITS)


# How it is chosen


@pytest.mark.parametrize(("value", "expected"), [("", "compiled"), ("0", "compiled"), ("1", "pure"), ("yes", "pure")])
def test_the_environment_leaves_it_out(value, expected):
    script = "from proxy.wire import heads; print(heads.FORM, heads.parse_request.__module__)"
    said = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "ICLIENT_PROXY_PURE": value},
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.split() == [expected, "proxy.wire.scanner" if expected == "compiled" else "proxy.wire.request"]
