import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.problem import PROBLEMS
from proxy.wire.heads import parse_request
from proxy.wire.request import HeadLimits, RequestFields, host_name, valid_host
from tests.wire.odd_fields import LET_PASS, OTHER_LENGTHS, PLAIN_LENGTHS, TWO_WORDS

LIMITS = HeadLimits(size=2000, line=500, fields=20, target=300)
BAD = "bad_request"
METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "SEARCH",
    "REPORT",
    "PURGE",
]


def head(*fields, line=b"GET /x HTTP/1.1", host=b"Host: a.example"):
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


def parsed(raw, limits=LIMITS):
    found = parse_request(raw, limits)
    assert found is not None, "the head is taken for incomplete"
    return found


def fields(*lines, **options):
    return parsed(head(*lines, **options)).fields


def assert_refused(raw, code=BAD, limits=LIMITS):
    with pytest.raises(Refusal) as refused:
        parse_request(raw, limits)
    assert refused.value.problem is PROBLEMS[code]


def reads(raw, searched=0, limits=LIMITS):
    """Return the code of a refusal, the size of a head, or None."""
    try:
        found = parse_request(raw, limits, searched)
    except Refusal as refusal:
        return refusal.problem.code
    return None if found is None else found.size


# Where a head ends


def test_a_head_is_taken_apart_and_its_lines_stay_as_they_came():
    raw = head(b"x-a:  1 ", b"X-A: 2", line=b"POST /a?b HTTP/1.1")

    found = parsed(raw + b"and a body")

    assert (found.method, found.target, found.version, found.size) == (b"POST", b"/a?b", 1, len(raw))
    assert found.lines == b"\r\nHost: a.example\r\nx-a:  1 \r\nX-A: 2\r\n"


def test_a_head_is_complete_with_its_empty_line_and_not_before():
    raw = head(b"X-A: 1", b"X-B: 2")

    for at in range(len(raw)):
        assert parse_request(raw[:at], LIMITS) is None, raw[:at]
    assert parsed(raw).size == len(raw)
    assert parsed(raw + raw).size == len(raw)


def test_where_an_earlier_look_ended_the_end_is_still_found():
    raw = head(b"X-A: 1")

    for searched in range(len(raw)):
        assert parse_request(raw, LIMITS, searched).size == len(raw)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\nX-B: 2\r\n", BAD),
        (b"\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\n", BAD),
        (b"GET  /x HTTP/1.1\r\nHost: a\r\n", BAD),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 500, "headers_too_large"),
        (b"GET /x HTTP/1.1\r\n" + b"X-A: 1\r\n" * 21, "headers_too_large"),
        (b"GET /x HTTP/1.1\r\n" + (b"X-A: " + b"a" * 480 + b"\r\n") * 5, "headers_too_large"),
        (b"GET /" + b"x" * 400, "target_too_long"),
    ],
)
def test_a_head_that_drips_is_refused_at_the_same_byte_as_one_that_is_read_from_its_beginning(raw, code):
    waited_for = {at for at in range(1, len(raw) + 1) if reads(raw[:at]) is None}

    for step in (1, 2, 3, 7):
        seen = 0
        for at in range(step, len(raw) + step, step):
            found = reads(raw[:at], seen)
            assert found == reads(raw[:at])
            if found is not None:
                break
            seen = at
        assert found == code
        assert seen in waited_for


@given(
    st.lists(st.sampled_from([b"GET /x HTTP/1.1", b"\r\n", b"\r", b"\n", b"X-A: 1\r\n", b"a", b":", b" "]), max_size=30)
)
def test_whatever_comes_piece_by_piece_is_judged_as_if_it_came_at_once(pieces):
    raw, small = b"", HeadLimits(size=60, line=12, fields=4, target=20)
    for piece in pieces:
        found = reads(raw + piece, len(raw), small)
        assert found == reads(raw + piece, 0, small)
        if found is not None:
            break
        raw += piece


@pytest.mark.parametrize("number", [1, 2, 8])
def test_a_few_blank_lines_before_a_request_are_passed_over(number):
    blank = b"\r\n" * number
    found = parsed(blank + head())

    assert (found.method, found.size) == (b"GET", len(blank + head()))
    assert parse_request(blank + head(), LIMITS, len(blank) + 5).size == found.size
    assert parse_request(blank, LIMITS) is None


@pytest.mark.parametrize(
    "before", [b"\r\n" * 9, b"\n", b"\n\n", b"\r\n\n", b"\r\r\n", b"\rX", b" ", b"\t", b"\x00", b"\xff"]
)
def test_other_things_before_a_request_are_refused(before):
    assert_refused(before + head())


def test_more_blank_lines_are_refused_before_a_request_comes():
    assert_refused(b"\r\n" * 9)


# The request line


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_is_known_passes(method):
    assert parsed(head(line=f"{method} /x HTTP/1.1".encode())).method == method.encode()


@pytest.mark.parametrize("method", [b"X", b"BREW", b"M-SEARCH", b"!#$%&'*+-.^_`|~09azAZ", b"A" * 32, b"Q0"])
def test_any_other_method_passes_as_long_as_it_is_a_token(method):
    assert parsed(head(line=method + b" /x HTTP/1.1")).method == method


@pytest.mark.parametrize("method", [*(method.lower().encode() for method in METHODS), b"Post", b"A" * 33])
def test_a_method_in_small_letters_or_without_end_is_not_implemented(method):
    assert_refused(head(line=method + b" /x HTTP/1.1"), "not_implemented")


@pytest.mark.parametrize("method", [b"", b"G(T", b"GE\x00T", b"G\x80T", b"G/T", b"G\tT", b"G:T", b'"GET"', b"G@T"])
def test_a_method_that_is_no_token_is_refused(method):
    assert_refused(head(line=method + b" /x HTTP/1.1"))


@pytest.mark.parametrize(
    "line",
    [
        b"GET  /x HTTP/1.1",
        b"GET /x  HTTP/1.1",
        b" GET /x HTTP/1.1",
        b"GET /x HTTP/1.1 ",
        b"GET\t/x HTTP/1.1",
        b"GET /x\tHTTP/1.1",
        b"GET /x y HTTP/1.1",
        b"GET /x",
        b"GET HTTP/1.1",
        b"GET /x http/1.1",
        b"GET /x HTTP/1.1x",
        b"GET /x HTTP/11",
        b"GET /x HTTP/1,1",
        b"GET /x HTTP/1.1\r",
        b"GET /x\x00 HTTP/1.1",
        b"GET /x\x7f HTTP/1.1",
        b"GET /x\x80 HTTP/1.1",
        b"GET /x#y HTTP/1.1",
        b'GET /"x" HTTP/1.1',
        b"GET /<x> HTTP/1.1",
        b"GET /{x} HTTP/1.1",
        b"GET /`x HTTP/1.1",
        b"GET /x HTTP/1.10",
        b"GET /x HTTP/ 1.1",
        b"GET /x HTTPS/1.1",
    ],
)
def test_a_request_line_of_another_shape_is_refused(line):
    assert_refused(head(line=line))


def test_every_character_that_may_stand_in_a_target_passes_as_it_is():
    target = b"/!$%&'()*+,-./0123456789:;=?@ABCXYZ[]\\^_abcxyz|~"

    assert parsed(head(line=b"GET " + target + b" HTTP/1.1")).target == target


@pytest.mark.parametrize("version", [b"2.0", b"0.9", b"1.2", b"1.9", b"3.0", b"9.9"])
def test_another_version_is_told_that_it_is_not_spoken(version):
    assert_refused(head(line=b"GET /x HTTP/" + version), "version_not_supported")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_version_that_is_spoken_is_not_what_is_wrong_with_a_line(version):
    assert_refused(head(line=b"GET  /x HTTP/" + version))


def test_a_line_of_another_shape_is_too_long_only_where_a_target_could_not_be_meant():
    fits = b"GET /" + b"a" * 320 + b"  HTTP/1.1"

    assert_refused(head(line=fits))
    exactly = fits.replace(b"/a", b"/a" + b"a" * (300 + 32 + 16 - len(fits) - 2))
    assert_refused(head(line=exactly))
    assert_refused(head(line=exactly.replace(b"/a", b"/aa")), "target_too_long")


def test_a_version_within_the_target_is_none():
    assert_refused(head(line=b"GET /x HTTP/2.0 HTTP/1.1"))


def test_http_1_0_needs_no_host_and_says_so():
    found = parsed(head(line=b"GET /x HTTP/1.0", host=b""))

    assert (found.version, found.keeps_alive, found.fields.host) == (0, False, b"")
    assert_refused(head(host=b""))
    assert_refused(head(b"Hosts: a.example", b"X-Host: a.example", host=b""))


@pytest.mark.parametrize(
    ("line", "field", "kept"),
    [
        (b"GET /x HTTP/1.1", b"X-A: 1", True),
        (b"GET /x HTTP/1.1", b"Connection: close", False),
        (b"GET /x HTTP/1.1", b"Connection: keep-alive, Close", False),
        (b"GET /x HTTP/1.0", b"X-A: 1", False),
        (b"GET /x HTTP/1.0", b"Connection: Keep-Alive", True),
        (b"GET /x HTTP/1.0", b"Connection: keep-alive, close", False),
    ],
)
def test_the_stream_is_kept_where_version_and_connection_say_so(line, field, kept):
    assert parsed(head(field, line=line)).keeps_alive is kept


# Limits


def test_a_target_may_be_as_long_as_the_limit_and_no_longer():
    assert parsed(head(line=b"GET /" + b"a" * 299 + b" HTTP/1.1"))
    assert_refused(head(line=b"GET /" + b"a" * 300 + b" HTTP/1.1"), "target_too_long")
    assert_refused(head(line=b"GET /" + b"\x80" * 400 + b" HTTP/1.1"), "target_too_long")


def test_a_target_that_can_only_get_too_long_is_refused_before_its_end_comes():
    assert parse_request(b"GET /" + b"a" * 343, LIMITS) is None
    assert_refused(b"GET /" + b"a" * 344, "target_too_long")


def test_a_line_may_be_as_long_as_the_limit_and_no_longer():
    for ending in (b"", b"\r\n", b"\r\n\r\n"):
        raw = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 495
        found = parse_request(raw + ending, LIMITS)
        assert (found is not None) == (ending == b"\r\n\r\n")
        assert_refused(raw + b"a" + ending, "headers_too_large")


def test_there_may_be_as_many_fields_as_the_limit_and_no_more():
    most = [b"A:" for _ in range(19)]

    assert parsed(head(*most))
    assert_refused(head(*most, b"A:"), "headers_too_large")
    many = HeadLimits(size=2000, line=500, fields=1, target=300)
    assert parsed(head(), many)
    assert_refused(head(b"X-A: 1"), "headers_too_large", many)
    short = {"line": b"GET / HTTP/1.1", "host": b"Host:a"}
    hundred = HeadLimits(size=2000, line=500, fields=100, target=300)
    assert parsed(head(*[b"A:"] * 99, **short), hundred)
    assert_refused(head(*[b"A:"] * 100, **short), "headers_too_large", hundred)
    assert parse_request(head(*most)[:-2], LIMITS) is None
    assert_refused(head(*most, b"A:")[:-2], "headers_too_large")


def test_a_head_may_be_as_large_as_the_limit_and_no_larger():
    fits = head(*(b"X-A: " + b"a" * 300 for _ in range(6)), b"X-B: ")
    room = LIMITS.size + 4 - len(fits)
    exactly = fits[:-4] + b"b" * room + b"\r\n\r\n"

    assert parsed(exactly).size == LIMITS.size + 4
    assert_refused(fits[:-4] + b"b" * (room + 1) + b"\r\n\r\n", "headers_too_large")
    assert parse_request(exactly[:-4], LIMITS) is None
    assert_refused(exactly[:-4] + b"b", "headers_too_large")


@pytest.mark.parametrize("raw", [b"GET", b"GET /x HT", b"GET /x HTTP/1.1\r", b"GET /x HTTP/1.1\r\nHos", b"!"])
def test_what_may_still_become_a_head_is_waited_for(raw):
    assert parse_request(raw, LIMITS) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01",
        b" GET",
        b"(",
        b"\x00",
        b"GET /x HTTP/1.1\nHost: a",
        b"GET /x\n",
        b"GET /x HTTP/1.1\r\nHost: a\nX-A: 1\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\n",
        b"GET /x\r\nHost",
        b"GET  /x HTTP/1.1\r\n",
    ],
)
def test_what_can_not_become_a_head_any_more_is_not_waited_for(raw):
    assert_refused(raw)


def test_another_version_is_not_waited_for():
    assert_refused(b"PRI * HTTP/2.0\r\n", "version_not_supported")


# Fields that say where the message ends


@pytest.mark.parametrize("value", PLAIN_LENGTHS)
def test_a_content_length_is_a_plain_decimal_number(value):
    found = parsed(head(b"Content-Length: " + value))

    assert found.fields.content_length == int(value)
    assert found.has_body is (value != b"0")
    assert found.fields.ordinary is (value == b"0")


@pytest.mark.parametrize("value", OTHER_LENGTHS)
def test_any_other_content_length_is_refused(value):
    assert_refused(head(b"Content-Length: " + value))


@pytest.mark.parametrize("lines", [*TWO_WORDS, (b"Host: a.example",), (b"host: b.example",)])
def test_two_words_about_the_same_thing_are_refused(lines):
    assert_refused(head(*lines))


@pytest.mark.parametrize("lines", [*LET_PASS, [b"\nHost: a", b"\nHost: a"], [b"\nHost: a", b"\nHost: b"]])
def test_what_the_parser_before_it_might_let_pass_is_refused_all_the_same(lines):
    with pytest.raises(Refusal) as refused:
        RequestFields(lines)
    assert refused.value.problem is PROBLEMS[BAD]


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED"])
def test_one_coding_is_relayed(value):
    found = parsed(head(b"Transfer-Encoding: " + value))

    assert (found.fields.chunked, found.has_body, found.fields.ordinary) == (True, True, False)


@pytest.mark.parametrize("value", [b"gzip, chunked", b"x , chunked", b"gzip,deflate , chunked"])
def test_other_codings_are_not_implemented(value):
    assert_refused(head(b"Transfer-Encoding: " + value), "not_implemented")


@pytest.mark.parametrize("value", [b"x ,\tchunked", b"gzip", b"chunked, gzip", b"chunked, chunked", b"identity"])
def test_what_does_not_end_in_chunks_has_no_end(value):
    assert_refused(head(b"Transfer-Encoding: " + value))


@pytest.mark.parametrize("value", [b"", b",", b"chunked,", b"chunk ed", b"chunked;a=b", b"(chunked)", b"\x0bchunked"])
def test_what_is_no_list_of_codings_is_refused(value):
    assert_refused(head(b"Transfer-Encoding: " + value))


def test_http_1_0_has_no_chunks():
    assert_refused(head(b"Transfer-Encoding: chunked", line=b"POST /x HTTP/1.0"))


def test_the_name_of_a_field_may_not_be_a_spelling_of_one_that_proxies_act_on():
    for name in (
        b"Content_Length",
        b"Transfer_Encoding",
        b"keep_alive",
        b"Proxy_Authorization",
        b"proxy-a_b",
        b"HTTP2_Settings",
    ):
        assert_refused(head(name + b": 1"))
    assert parsed(head(b"X_A: 1", b"Contents_Length: 1"))


@pytest.mark.parametrize(
    "line",
    [
        b"X-A",
        b": 1",
        b"X A: 1",
        b"X-A : 1",
        b" X-A: 1",
        b"X-A: \x00",
        b"X-A: \x7f",
        b"X-A: a\rb",
        b"X-A: a\nb",
        b"(X): 1",
    ],
)
def test_a_field_line_that_breaks_the_grammar_is_refused(line):
    assert_refused(head(line))
    assert_refused(head(line, line=b"BREW /x HTTP/1.1"))


# The host


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"a.example",
        b"A.Example:8080",
        b"a_b~c-d.example",
        b"%41.example",
        b"%aF%Fa",
        b"127.0.0.1:1",
        b"[::1]",
        b"[2001:DB8::a]:65535",
        b"[::ffff:1.2.3.4]",
        b"a:00001",
        b"0.Z",
    ],
)
def test_a_host_and_perhaps_a_port_is_a_host(host):
    assert valid_host(host)
    assert fields(host=b"Host: " + host).host == host


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a b",
        b"a,b",
        b"a@b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"a:",
        b"a:0",
        b"a:65536",
        b"a:99999",
        b"a:123456",
        b"a:1x",
        b"a:-1",
        b"a:1:2",
        b"::1",
        b"[::1",
        b"::1]",
        b"[]",
        b"[g]",
        b"[::1]a",
        b"[::1]]",
        b"[[::1]",
        b"%4",
        b"%g1",
        b"%1g",
        b"a\xe4",
        b"a\x00",
        b"http://a",
        b":80",
        b"a!b",
        b"a$",
        b"a*",
    ],
)
def test_anything_else_is_not(host):
    assert not valid_host(host)
    assert_refused(head(host=b"Host: " + host))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"A.Example", b"a.example"),
        (b"A.Example:8080", b"a.example"),
        (b"a.example.", b"a.example"),
        (b"a.example.:80", b"a.example"),
        (b"[2001:DB8::A]", b"[2001:db8::a]"),
        (b"[2001:DB8::A]:80", b"[2001:db8::a]"),
        (b"a:x", b"a:x"),
        (b"123", b"123"),
        (b"a", b"a"),
    ],
)
def test_the_name_of_a_host_is_in_small_letters_without_port_and_final_dot(host, name):
    assert host_name(host) == name


def test_the_line_of_the_host_is_known_as_it_stands():
    found = fields(host=b"hOST:  A.Example:80 ")

    assert found.host_line == b"\r\nhOST:  A.Example:80 \r\n"
    assert (found.host, found.host_name) == (b"A.Example:80", b"a.example")


# Fields of one hop


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: x",
        b"Keep-Alive: timeout=5",
        b"keep-alive: 1",
        b"Proxy-Connection: keep-alive",
        b"PROXY-AUTHORIZATION: Basic eA==",
        b"Proxy-Anything: 1",
        b"TE: gzip",
        b"Trailer: X-A",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMA",
        b"http2-settings: AAMA",
    ],
)
def test_a_field_of_one_hop_is_cut_as_a_whole_line(line):
    assert fields(b"X-A: 1", line, b"X-B: 2").cuts == (b"\r\n" + line + b"\r\n",)


@pytest.mark.parametrize(
    "line",
    [
        b"Accept: */*",
        b"Cookie: a=b",
        b"Expect: 100-continue",
        b"Via: 1.1 a",
        b"Origin: https://a.example",
        b"Max-Forwards: 3",
        b"Sec-Fetch-Site: none",
        b"Authorization: Bearer x",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"X-Connection: close",
        b"Connections: close",
        b"Trailers: a",
        b"Team: a",
    ],
)
def test_other_fields_are_not_cut(line):
    assert fields(line).cuts == ()


@pytest.mark.parametrize(
    ("lines", "taken"),
    [
        ((b"Connection: X-A, x-b ,,X-C",), {b"x-a", b"x-b", b"x-c"}),
        ((b"Connection: X-A", b"connection: X-B"), {b"x-a", b"x-b"}),
        ((b"Connection: close, keep-alive",), set()),
        ((b"Connection: Host, Content-Length, Transfer-Encoding, Upgrade, TE",), set()),
        ((b"X-Connection: X-A",), set()),
    ],
)
def test_what_connection_nominates_is_taken_along_but_for_what_the_message_rests_on(lines, taken):
    found = fields(*lines)

    assert found.nominated == taken
    assert found.ordinary is not bool(taken)


def test_a_request_asks_for_close_or_keep_alive_by_its_connection_alone():
    assert (fields(b"Connection: close").close, fields(b"Connection: keep-alive").close) == (True, False)
    assert (fields(b"Connection: close").keep_alive, fields(b"Connection: Keep-Alive").keep_alive) == (False, True)
    assert fields(b"Keep-Alive: timeout=5").keep_alive is False


WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: WebSocket")


def test_only_an_upgrade_to_websocket_crosses():
    found = parsed(head(*WEBSOCKET))

    assert (found.upgrade, found.fields.upgrade, found.fields.ordinary) == (b"websocket", b"websocket", False)


@pytest.mark.parametrize(
    "lines",
    [
        (b"Upgrade: websocket",),
        (b"Connection: close", b"Upgrade: websocket"),
        (b"Connection: upgrade",),
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA"),
        (b"Connection: Upgrade", b"Upgrade: TLS/1.0"),
        (b"Connection: Upgrade", b"Upgrade: websocket, h2c"),
        (*WEBSOCKET, b"Content-Length: 1"),
        (*WEBSOCKET, b"Transfer-Encoding: chunked"),
    ],
)
def test_no_other_upgrade_does(lines):
    assert parsed(head(*lines)).upgrade == b""


def test_an_upgrade_that_says_that_no_body_follows_crosses():
    assert parsed(head(*WEBSOCKET, b"Content-Length: 0")).upgrade == b"websocket"


def test_http_1_0_can_not_ask_for_an_upgrade():
    found = parsed(head(*WEBSOCKET, line=b"GET /x HTTP/1.0"))

    assert (found.upgrade, found.fields.upgrade) == (b"", b"websocket")


@pytest.mark.parametrize(
    ("value", "wants"), [(b"trailers", True), (b"gzip, Trailers", True), (b"gzip", False), (b"trailers;q=1", False)]
)
def test_a_client_that_takes_trailers_says_so_by_te(value, wants):
    found = fields(b"TE: " + value)

    assert found.trailers is wants
    assert found.ordinary is not wants


# What else is asked of a head


def test_credentials_are_found_in_every_spelling_that_a_server_may_take_for_one():
    lines = [b"Authorization: Bearer a", b"AUTHORIZATION: Basic b", b"Authorization_: c", b"authorization__: d"]

    assert fields(*lines).authorization == tuple(b"\r\n" + line + b"\r\n" for line in lines)
    assert fields(b"X-Authorization: a", b"Authorizations: b").authorization == ()


def test_a_proxy_credential_that_stands_twice_is_nobodys():
    assert fields(b"Proxy-Authorization: Basic eA==").proxy_authorization == b"Basic eA=="
    assert fields(b"Proxy-Authorization: a", b"proxy-authorization:  b ").proxy_authorization == b"a,b"
    assert fields(b"Proxy-Authorization: ", b"Proxy-Authorization: b").proxy_authorization == b"b"
    assert fields().proxy_authorization == b""


@pytest.mark.parametrize(
    ("line", "attribute", "value", "ordinary"),
    [
        (b"Expect: 100-Continue", "expects", b"100-continue", False),
        (b"Via: 1.1 a", "via", b",1.1 a", False),
        (b"Max-Forwards: 7", "max_forwards", b"7", False),
        (b"Origin: https://A.example", "origin", b"https://A.example", True),
        (b"Origin:", "origin", b"null", True),
        (b"Sec-Fetch-Site: Cross-Site", "fetch_site", b"cross-site", True),
        (b"Sec-Fetch-Site: none", "has_fetch_metadata", True, True),
        (b"Sec-Fetch-Mode: cors", "has_fetch_metadata", True, True),
        (b"Sec-Fetch-Mode: cors", "fetch_site", b"", True),
        (b"Sec-Fetching: cors", "has_fetch_metadata", False, True),
    ],
)
def test_what_the_rules_ask_for_is_there_and_says_whether_the_request_is_ordinary(line, attribute, value, ordinary):
    found = fields(line)

    assert getattr(found, attribute) == value
    assert found.ordinary is ordinary


def test_every_via_counts():
    assert fields(b"Via: 1.1 a", b"via: 1.0 b").via == b",1.1 a,1.0 b"


def test_without_any_of_them_a_head_is_ordinary_and_all_is_empty():
    found = fields(b"Accept: */*")

    assert found.ordinary is True
    assert (found.content_length, found.chunked, found.close, found.keep_alive) == (-1, False, False, False)
    assert (found.expects, found.upgrade, found.trailers, found.via) == (b"", b"", False, b"")
    assert (found.origin, found.fetch_site, found.has_fetch_metadata, found.max_forwards) == (b"", b"", False, b"")
    assert (found.nominated, found.authorization, found.proxy_authorization) == (frozenset(), (), b"")
    assert parsed(head()).has_body is False


def test_http_1_0_without_a_host_is_not_ordinary():
    assert parsed(head(line=b"GET / HTTP/1.0", host=b"")).fields.ordinary is False


@pytest.mark.parametrize(("told", "left"), [(b"7", b"6"), (b"1", b"0"), (b"10", b"9")])
def test_max_forwards_counts_down_where_it_stands(told, left):
    found = parsed(head(b"X-A: 1", b"mAX-forwards: " + told, b"X-B: 2", line=b"OPTIONS * HTTP/1.1"))

    found.count_down()

    assert found.lines == b"\r\nHost: a.example\r\nX-A: 1\r\nMax-Forwards: " + left + b"\r\nX-B: 2\r\n"


# What is remembered


def test_the_same_lines_come_to_the_same_fields_but_nobodys_credentials_are_remembered():
    assert fields(b"Via: 1.1 same") is fields(b"X-A: 1", b"Via: 1.1 same")
    for secret in (b"Authorization: Bearer a", b"Proxy-Authorization: Basic eA=="):
        assert fields(secret) is not fields(secret)


def kept(kind):
    return sum(type(one) is kind for one in gc.get_objects())


def test_what_is_remembered_is_bounded():
    long = b"Via: " + b"v" * (513 - len(b"\nHost: a.example\nVia: "))
    assert fields(long) is not fields(long)
    assert fields(long[:-1]) is fields(long[:-1])
    counts = set()
    for number in range(3000):
        fields(b"Via: 1.1 host-%d" % number)
        if number % 500 == 47:
            counts.add(kept(RequestFields))
    assert 500 < max(counts) <= 2048


@given(st.text("GET /xHTP1.0\r\nhost:a ,;=chunkedTransfer-Encoding", max_size=120).map(str.encode))
def test_whatever_comes_is_a_head_or_a_refusal_or_not_complete(raw):
    try:
        found = parse_request(raw, LIMITS)
    except Refusal:
        return

    assert found is None or raw[: found.size].endswith(b"\r\n\r\n")
