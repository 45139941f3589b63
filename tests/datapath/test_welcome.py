import base64
import hashlib
import re

import h11
import pytest

from proxy.inbound.welcome import welcome
from proxy.wire.heads import parse_request
from proxy.wire.request import HeadLimits

LIMITS = HeadLimits(65536, 16384, 128, 16384)


def asked(method=b"GET", path=b"/", *fields):
    """Return the response to a request for the magic host, as h11 reads it: status, fields, body."""
    target = b"http://iclient-proxy.internal" + path
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: iclient-proxy.internal", *fields]
    head = parse_request(b"\r\n".join(lines) + b"\r\n\r\n", LIMITS)
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target=path or b"/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(welcome(head))
    reader.receive_data(b"")
    response, body = reader.next_event(), b""
    while isinstance(event := reader.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return response.status_code, dict(response.headers), body.decode()


@pytest.mark.parametrize("path", [b"/", b"", b"/?x=1"])
def test_it_says_that_the_proxy_was_reached_and_what_to_trust(path):
    status, fields, body = asked(b"GET", path)

    assert status == 200
    assert "You reached the proxy" in body
    assert 'eval "$(iclient-proxy env --runtime curl)"' in body
    assert [
        name for name in ("CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "trustStore", "WGETRC") if name not in body
    ] == []
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"


def test_browsers_get_a_page_that_may_load_and_run_nothing():
    status, fields, body = asked(b"GET", b"/", b"Accept: text/html,*/*;q=0.8")
    [style] = re.findall("<style>(.*?)</style>", body)
    own = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert (status, fields[b"content-type"]) == (200, b"text/html; charset=utf-8")
    assert fields[b"content-security-policy"].decode() == (
        f"default-src 'none'; style-src 'sha256-{own}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "<script" not in body
    assert " style=" not in body


@pytest.mark.case("A-356")
@pytest.mark.parametrize("accept", [b"Accept: text/html", b"Accept: */*"])
def test_nothing_of_the_request_is_in_it(accept):
    plain = asked(b"GET", b"/", accept)
    marked = asked(b"GET", b"/?reflected", accept, b"Cookie: reflected=1", b"Referer: http://reflected/")
    missing = asked(b"GET", b"/reflected", accept)

    assert marked == plain
    assert missing[0] == 404
    assert "reflected" not in str(missing)


def test_only_reading_it_is_possible():
    status, fields, body = asked(b"HEAD")
    refused = asked(b"POST", b"/", b"Content-Length: 0")

    assert (status, body) == (200, "")
    assert int(fields[b"content-length"]) > 500
    assert (refused[0], refused[1][b"allow"]) == (405, b"GET, HEAD")
