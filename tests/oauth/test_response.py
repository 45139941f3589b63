import gzip
import hashlib
import json
import tracemalloc
import zlib
from email.utils import formatdate

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.oauth.response import EndpointAnswer, Issued, read
from tests.oauth.answers import LIMIT, NOW, iclient, reading, token_of


def gzipped(data):
    return gzip.compress(data, mtime=0)  # the time of day has no place in the name of a test


def shortened(body):
    return repr(body[:30])


TOKEN = {"access_token": "t0", "token_type": "Bearer", "expires_in": 3600}


def test_a_plain_answer_is_a_token_with_its_lifetime():
    result = reading(TOKEN)

    assert (token_of(result), result.lifetime, result.refresh_token, result.anomalies) == ("t0", 3600, None, ())


@pytest.mark.case("T-60", "T-61", "T-62", "T-63")
@pytest.mark.parametrize(
    ("code", "status", "outcome", "remedy"),
    [
        ("invalid_grant", 400, Outcome.INVALID_GRANT, Remedy.ANOTHER_GRANT),
        ("invalid_client", 401, Outcome.INVALID_CLIENT, Remedy.OPERATOR),
        ("invalid_client", 400, Outcome.INVALID_CLIENT, Remedy.OPERATOR),
        ("invalid_scope", 400, Outcome.OTHER_ERROR, Remedy.OPERATOR),
        ("unauthorized_client", 400, Outcome.OTHER_ERROR, Remedy.OPERATOR),
        ("unsupported_grant_type", 400, Outcome.OTHER_ERROR, Remedy.OPERATOR),
        ("invalid_request", 400, Outcome.OTHER_ERROR, Remedy.OPERATOR),
    ],
)
def test_an_error_of_the_rfc_says_what_may_help(code, status, outcome, remedy):
    result = reading({"error": code}, status)

    assert (result.outcome, result.code, result.remedy) == (outcome, code, remedy)


def test_an_unauthorized_client_is_one_also_without_words():
    assert reading(b"<html>no</html>", 401, content_type="text/html").code == "invalid_client"


@pytest.mark.case("T-406")
def test_an_unknown_error_is_cut_and_cleaned_for_the_log():
    result = reading({"error": "odd\x1b[31m\n" + "x" * 100_000}, 400)

    assert (result.code, result.remedy) == ("token_error_other", Remedy.WAIT)
    assert result.said.startswith("odd[31mx")
    assert len(result.said) == 120
    assert reading({"error": 5}, 400).code == "token_error_other"


@pytest.mark.case("T-68")
def test_two_hundred_with_an_error_is_the_error():
    assert reading({"error": "invalid_grant"}).code == "invalid_grant"
    assert reading({"error": "invalid_client", "access_token": "t0"}).outcome is Outcome.INVALID_CLIENT
    assert token_of(reading({**TOKEN, "error": None})) == "t0"


@pytest.mark.case("T-69")
def test_a_login_page_is_described_and_never_quoted():
    page = b"<!DOCTYPE html><html><form action='/login?x=1'>canary</form></html>"

    result = reading(page, content_type="text/html; charset=utf-8")

    assert (result.outcome, result.code, result.status) == (Outcome.MALFORMED, "token_response_not_json", 200)
    assert result.content_type == "text/html; charset=utf-8"
    assert result.length == len(page)
    assert result.digest == hashlib.sha256(page).hexdigest()[:12]
    assert "canary" not in repr(result)


@pytest.mark.case("T-70")
@pytest.mark.parametrize("content_type", ["text/html", None, "application/octet-stream", "text/plain"])
def test_json_is_read_whatever_its_media_type_says(content_type):
    result = reading(TOKEN, content_type=content_type)

    assert token_of(result) == "t0"
    assert ("content_type_odd" in result.anomalies) == (content_type in {"text/html", None})


@pytest.mark.case("T-71")
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain; charset=utf-8"])
def test_a_form_is_read_where_there_is_no_json(content_type):
    result = reading(b"access_token=a%2Bb&expires_in=3600&token_type=bearer&refresh_token=r", content_type=content_type)

    assert (token_of(result), result.lifetime, result.refresh_token.reveal()) == ("a+b", 3600, "r")


@pytest.mark.case("T-71")
def test_json_that_is_called_a_form_is_still_json():
    assert token_of(reading(TOKEN, content_type="application/x-www-form-urlencoded")) == "t0"


@pytest.mark.case("T-71", "T-74")
def test_a_form_that_names_a_field_twice_is_malformed():
    body = b"access_token=a&access_token=b"

    assert reading(body, content_type="application/x-www-form-urlencoded").code == "token_response_malformed"


@pytest.mark.case("T-72")
@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzipped),
        ("X-GZIP", gzipped),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
        ("identity", bytes),
    ],
)
def test_a_coding_nobody_asked_for_is_undone(coding, encode):
    result = reading(encode(json.dumps(TOKEN).encode()), content_encoding=coding)

    assert token_of(result) == "t0"


@pytest.mark.case("T-72")
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("br", brotli.compress(json.dumps(TOKEN).encode())),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("gzip, gzip", gzipped(gzipped(b"{}"))),
        ("gzip", b"not gzip at all"),
        ("gzip", gzipped(b"{}") + b"junk"),
    ],
)
def test_a_coding_that_is_not_understood_is_a_failure(coding, body):
    assert reading(body, content_encoding=coding).code == "token_response_encoding"


@pytest.mark.case("T-72")
def test_a_coding_that_breaks_off_is_incomplete():
    assert (
        reading(gzipped(json.dumps(TOKEN).encode())[:-9], content_encoding="gzip").code == "token_response_incomplete"
    )


@pytest.mark.case("T-73")
@pytest.mark.parametrize("size", [LIMIT + 1, 10 * LIMIT])
def test_a_bomb_is_cut_at_the_limit(size):
    bomb = gzipped(b" " * size)
    tracemalloc.start()
    try:
        result = reading(bomb, content_encoding="gzip")
        assert tracemalloc.get_traced_memory()[1] < 4 * LIMIT
    finally:
        tracemalloc.stop()
    assert (result.outcome, result.code) == (Outcome.MALFORMED, "token_response_too_large")


@pytest.mark.case("T-74")
@pytest.mark.parametrize(
    "body",
    [
        b'["t0"]',
        b'"t0"',
        b"17",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"access_token": "a", "access_token": "b"}',
        b'{"access_token": "a", "expires_in": NaN}',
        b'{"access_token": "a", "expires_in": -Infinity}',
        b'{"access_token": "\\ud800"}',
        b'{"access_token": "a", "x": ["\\uDC00"]}',
        b'{"access_token": "a"} trailing',
        b'{"access_token": "a"}{"access_token": "b"}',
        b'{"access_token": "a"',
        b'{"access_token": "a",}',
        json.dumps(TOKEN).encode("utf-16"),
        json.dumps(TOKEN).encode("utf-16-le"),
        json.dumps(TOKEN).encode("utf-16-be"),
        b'{"access_token": "\xff"}',
        b'{"n": ' + b"9" * 10_000 + b"}",
    ],
    ids=shortened,
)
def test_json_that_is_not_one_plain_object_is_malformed(body):
    result = reading(body)

    assert (result.outcome, result.code) == (Outcome.MALFORMED, "token_response_malformed")


@pytest.mark.case("T-74")
def test_a_byte_order_mark_is_accepted():
    assert token_of(reading(b"\xef\xbb\xbf" + json.dumps(TOKEN).encode())) == "t0"


@pytest.mark.case("T-74")
def test_a_pair_of_surrogates_is_one_character():
    assert token_of(reading(b'{"access_token": "a", "name": "\\ud83d\\ude00"}')) == "a"


@pytest.mark.case("T-75", "T-76")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_that_names_scheme_and_host_only(status):
    result = reading(TOKEN, status, location="https://evil.example:8443/steal?code=canary")

    assert (result.outcome, result.code, result.said) == (
        Outcome.OTHER_ERROR,
        "token_endpoint_redirect",
        "https://evil.example",
    )
    # The URL in the definitions is wrong; asking it again will not mend it.
    assert result.remedy is Remedy.OPERATOR


@pytest.mark.parametrize("location", ["", "/elsewhere", "http://[::1", "\x00"])
def test_a_redirect_to_nowhere_is_no_exception(location):
    assert reading(b"", 302, location=location).said == ""


@pytest.mark.case("T-78")
@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b""), (200, b" \r\n"), (200, b"\xef\xbb\xbf")])
def test_an_empty_answer_is_a_failure_of_its_own(status, body):
    assert reading(body, status).code == "token_response_empty"


@pytest.mark.case("T-79")
@pytest.mark.parametrize(
    "fields", [{}, {"access_token": ""}, {"access_token": 5}, {"access_token": {}}, {"access_token": None}]
)
def test_a_missing_token_names_the_path_and_not_the_value(fields):
    result = reading({**fields, "other": "canary"}, settings={"access_token_path": "access_token"})

    assert (result.code, result.said) == ("token_missing", "access_token")
    assert "canary" not in repr(result)


@pytest.mark.case("T-79")
def test_an_empty_object_has_no_token():
    assert reading({}).code == "token_missing"


@pytest.mark.case("T-80")
def test_token_refresh_token_and_lifetime_may_lie_anywhere():
    body = {"data": [{"token": "deep", "odd.key": "r0", "ttl": "90000"}], "token_type": "bearer"}

    result = reading(
        body,
        settings={
            "access_token_path": "data.0.token",
            "refresh_token_path": 'data[0]["odd.key"]',
            "expires_in_path": "$.data[0].ttl",
            "expires_in_unit": "ms",
        },
    )

    assert (token_of(result), result.refresh_token.reveal(), result.lifetime) == ("deep", "r0", 90)


@pytest.mark.case("T-80")
@pytest.mark.parametrize("path", ["data.1.token", "data.0.token.x", "nothing", "data[9]"])
def test_a_path_that_leads_nowhere_is_a_missing_token(path):
    result = reading({"data": [{"token": "deep"}]}, settings={"access_token_path": path})

    assert (result.code, result.said) == ("token_missing", path)


@pytest.mark.case("T-80")
@pytest.mark.parametrize("body", [b"bare-token", b"bare-token\r\n", b'"bare-token"'])
def test_the_body_itself_may_be_the_token(body):
    result = reading(body, settings={"access_token_path": "$"}, content_type="text/plain")

    assert token_of(result) == "bare-token"


@pytest.mark.case("T-69", "T-80")
def test_a_page_is_no_token_although_the_body_itself_is():
    settings = {"access_token_path": "$"}

    assert reading(b"<html>hi</html>", settings=settings, content_type="text/plain").code == "token_response_not_json"
    assert reading({"access_token": "a"}, settings=settings).code == "token_missing"
    assert reading({"error": "invalid_client"}, settings=settings).code == "invalid_client"


@pytest.mark.case("T-81", "T-82")
@pytest.mark.parametrize(
    "token", ["a\rb", "a\nb", "a\r\nX: y", "a\0b", "a\x1bb", "a\x7fb", "€", "tökén", "a\tb", "\x85"]
)
def test_a_token_that_would_break_a_header_is_refused(token):
    result = reading({"access_token": token})

    assert (result.outcome, result.code) == (Outcome.MALFORMED, "token_malformed")
    assert token not in repr(result)


@pytest.mark.case("T-83")
@pytest.mark.parametrize("token", [" a", "a ", " ", "a\n"])
def test_a_token_with_a_space_at_its_end_is_refused(token):
    assert reading({"access_token": token}).code == "token_malformed"


@pytest.mark.case("T-83")
def test_a_space_inside_a_token_is_part_of_it():
    assert token_of(reading({"access_token": "a b"})) == "a b"


@pytest.mark.case("T-84")
def test_a_token_may_have_sixteen_kibibytes_and_no_more():
    assert len(token_of(reading({"access_token": "a" * 16384}))) == 16384
    assert reading({"access_token": "a" * 16385}).code == "token_too_large"
    assert reading({"access_token": "a" * 65536}).code == "token_too_large"


@pytest.mark.case("T-85")
def test_without_expires_in_the_lifetime_is_unknown_or_the_default():
    assert reading({"access_token": "a"}).lifetime is None
    assert reading({"access_token": "a"}).anomalies == ()
    assert reading({"access_token": "a"}, settings={"default_token_ttl": 60.0}).lifetime == 60


@pytest.mark.case("T-86")
@pytest.mark.parametrize("written", ["0", "-5", "null", '""', '"never"', '"NaN"', "true", "1e400"])
def test_an_unreadable_expires_in_is_as_missing_and_noted(written):
    body = b'{"access_token": "a", "expires_in": ' + written.encode() + b"}"

    result = reading(body)

    assert (token_of(result), result.lifetime, result.anomalies) == ("a", None, ("expires_in_unreadable",))


@pytest.mark.case("T-87", "T-88")
@pytest.mark.parametrize(
    ("written", "seconds"), [("3600", 3600), (3599.7, 3599), ("3600 ", 3600), (10**12, 30 * 86400)]
)
def test_expires_in_is_read_as_servers_write_it(written, seconds):
    assert reading({"access_token": "a", "expires_in": written}).lifetime == seconds


def test_a_moment_of_expiry_means_the_clock_of_the_server():
    settings = {"expires_in_path": "expires_at", "expires_in_unit": "at"}

    # Its clock is a day behind ours: 23:00 the day before, and the token lives until midnight of that clock.
    result = reading(
        {"access_token": "a", "expires_at": NOW - 86400 + 600}, settings=settings, date="Thu, 14 Jan 2027 08:00:00 GMT"
    )

    assert result.lifetime == 600


@pytest.mark.case("T-90")
@pytest.mark.parametrize(
    ("kind", "odd"),
    [(None, False), ("bearer", False), ("BEARER", False), ("Bearer", False), ("bot", True), ("N_A", True), (5, True)],
)
def test_a_token_type_that_is_odd_is_accepted_and_noted(kind, odd):
    result = reading({"access_token": "a"} if kind is None else {"access_token": "a", "token_type": kind})

    assert token_of(result) == "a"
    assert ("token_type_odd" in result.anomalies) is odd


@pytest.mark.case("T-90")
@pytest.mark.parametrize("kind", ["mac", "MAC", "DPoP", "PoP"])
def test_a_token_type_that_needs_more_than_a_header_is_refused(kind):
    assert reading({"access_token": "a", "token_type": kind}).code == "token_type_unsupported"


@pytest.mark.case("R-372", "R-373")
@pytest.mark.parametrize(
    ("fields", "noted"),
    [({}, False), ({"refresh_token": ""}, True), ({"refresh_token": None}, True), ({"refresh_token": 5}, True)],
)
def test_a_refresh_token_that_is_none_is_no_refresh_token(fields, noted):
    result = reading({**TOKEN, **fields})

    assert result.refresh_token is None
    assert ("refresh_token_unusable" in result.anomalies) is noted


@pytest.mark.case("T-64", "T-65")
@pytest.mark.parametrize(
    ("status", "written", "seconds"),
    [(429, "30", 30), (503, "7", 7), (429, "banana", None), (429, None, None), (400, "9", 9)],
)
def test_a_failure_carries_what_the_server_asks_for(status, written, seconds):
    result = reading(b"", status, retry_after=written)

    assert result.retry_after == seconds
    assert result.remedy is Remedy.WAIT
    assert (result.outcome is Outcome.RATE_LIMITED) is (status == 429)


@pytest.mark.case("T-65")
@pytest.mark.parametrize("ahead", [-86400, -3600, 0, 3600])
def test_a_moment_in_retry_after_is_meant_by_the_clock_of_the_server(ahead):
    there = NOW + ahead
    found = reading({}, 503, date=formatdate(there, usegmt=True), retry_after=formatdate(there + 40, usegmt=True))

    assert found.retry_after == 40


@pytest.mark.case("T-66", "T-67")
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_says_nothing_about_the_client_whatever_its_body_says(status):
    result = reading({"error": "invalid_client"}, status)

    assert (result.outcome, result.code, result.remedy) == (Outcome.OTHER_ERROR, "token_server_error", Remedy.WAIT)


CONTENT_TYPES = st.sampled_from(["application/json", "text/html", "application/x-www-form-urlencoded", "", None])
PIECES = st.lists(
    st.sampled_from(
        [
            b"{",
            b"}",
            b"[",
            b'"',
            b":",
            b",",
            b"access_token",
            b"expires_in",
            b"error",
            b"=",
            b"&",
            b"\\u",
            b"d800",
            b"9",
            b"\xef\xbb\xbf",
            b" ",
            b"\0",
        ]
    )
).map(b"".join)


@given(
    st.one_of(
        st.binary(max_size=200),
        PIECES,
        st.dictionaries(st.sampled_from(list(TOKEN)), st.integers() | st.text()).map(lambda d: json.dumps(d).encode()),
    ),
    st.integers(100, 599),
    CONTENT_TYPES,
    st.sampled_from(["", "gzip", "deflate", "br"]),
    st.sampled_from(["access_token", "$", "a.0", "[0]"]),
)
def test_no_answer_is_an_exception_and_no_token_can_break_a_header(body, status, content_type, coding, path):
    headers = [("content-encoding", coding)] + ([] if content_type is None else [("content-type", content_type)])

    result = read(EndpointAnswer(status, tuple(headers), body), iclient(access_token_path=path), limit=100, now=NOW)

    assert isinstance(result, Failure | Issued)
    if isinstance(result, Issued):
        assert 200 <= status < 300 or status < 200
        token = token_of(result)
        assert token.isascii()
        assert token.isprintable()
        assert token == token.strip()
