import string

import pytest

from proxy.wire.names import REQUEST_FIELDS, RESPONSE_FIELDS, TOKEN, cut_named, line_name_and_value, options

IN_REQUESTS = [
    "Connection",
    "Keep-Alive",
    "Keep_Alive",
    "Proxy-Connection",
    "Proxy_Authorization",
    "Proxy-X-Y_Z",
    "TE",
    "Trailer",
    "Upgrade",
    "HTTP2-Settings",
    "HTTP2_Settings",
    "Host",
    "Authorization",
    "Authorization_",
    "Authorization__",
    "Content-Length",
    "Content_Length",
    "Transfer-Encoding",
    "Transfer_Encoding",
    "Expect",
    "Via",
    "Origin",
    "Sec-Fetch-Site",
    "Sec-Fetch-Mode",
    "Max-Forwards",
]
IN_RESPONSES = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Upgrade",
    "Transfer-Encoding",
    "Content-Length",
    "WWW-Authenticate",
    "Location",
    "Content-Location",
]


def around(line):
    return b"START\r\nA: 1\r\n" + line + b"\r\nZ: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("pattern", "name"),
    [*((REQUEST_FIELDS, name) for name in IN_REQUESTS), *((RESPONSE_FIELDS, name) for name in IN_RESPONSES)],
)
def test_a_field_that_matters_is_found_in_every_case_with_and_without_a_value(pattern, name):
    for spelling in (name, name.lower(), name.upper(), name.swapcase()):
        for line in (f"{spelling}: a b", f"{spelling}:", f"{spelling}:a:b"):
            assert pattern.findall(around(line.encode())) == [b"\n" + line.encode()]


@pytest.mark.parametrize("pattern", [REQUEST_FIELDS, RESPONSE_FIELDS])
@pytest.mark.parametrize(
    "name", ["Accept", "X-Host", "Hosts", "Cookie", "Content-Type", "Date", "Ho-st", "Proxy", "Sec-Fetch", "T", "Viaa"]
)
def test_other_fields_are_not_looked_at(pattern, name):
    assert pattern.findall(around(f"{name}: Host: a".encode())) == []


def test_a_name_of_several_characters_is_found_only_as_a_whole():
    assert REQUEST_FIELDS.findall(around(b"X: a\r\nHost : b\r\n Host: c")) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"\nHost: a", (b"host", b"a")),
        (b"\r\nX-Name:\t valueX \t\r\n", (b"x-name", b"valueX")),
        (b"A:b:c", (b"a", b"b:c")),
        (b"A:", (b"a", b"")),
        (b"Xx-Y: Xx", (b"xx-y", b"Xx")),
    ],
)
def test_a_line_is_taken_apart_into_its_name_in_small_letters_and_its_value(line, expected):
    assert line_name_and_value(line) == expected


def test_lines_are_cut_by_their_names_and_all_others_stay():
    fields = b"START: 1\r\nX-A: a:b\r\nX-AB: 1\r\nx-a:\r\nB: X-A: 1\r\nC\r\n\r\n"

    assert cut_named(fields, frozenset((b"x-a",))) == b"START: 1\r\nX-AB: 1\r\nB: X-A: 1\r\nC\r\n\r\n"
    assert cut_named(fields, frozenset()) == fields
    assert cut_named(b"\r\n\r\n", frozenset((b"",))) == b"\r\n\r\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a", (b"a",)),
        (b"A, b\t,\tC ", (b"a", b"b", b"c")),
        (b" , ,a,,", (b"a",)),
        (b"", ()),
        (b"a b", (b"a b",)),
        (b"X, Xx-X", (b"x", b"xx-x")),
    ],
)
def test_a_list_is_split_at_commas_into_small_letters(value, expected):
    assert options(value) == expected


def test_a_token_holds_the_characters_of_the_grammar_and_no_others():
    allowed = b"!#$%&'*+-.^_`|~" + (string.digits + string.ascii_letters).encode()

    for byte in range(256):
        one = bytes([byte])
        assert (TOKEN.fullmatch(one) is not None) == (one in allowed), one
    assert TOKEN.fullmatch(allowed)
    assert not TOKEN.fullmatch(b"")
