"""Where mutants begin: requests and responses beyond doubt, and the hostile ones of the catalogue, in our own bytes.

Every request names connection `a` or `b` by its route. A hostile one must never reach an upstream whole.
"""

from __future__ import annotations

from typing import Final

_HOST: Final = b"Host: 127.0.0.1:4000\r\n"


def _request(line: bytes, *fields: bytes, body: bytes = b"", host: bytes = _HOST) -> bytes:
    return line + b" HTTP/1.1\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


_CHUNKED: Final = b"Transfer-Encoding: chunked"
_SMUGGLED: Final = b"GET /b/smuggled HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\r\n"

GOOD: Final = (
    _request(b"GET /a/x"),
    _request(b"GET /b/y?q=1&r=%2F", b"Accept: */*", b"X-Id: 7"),
    _request(b"HEAD /a/h", b"Authorization: Bearer client-token", b"authorization: Basic Y2xpZW50"),
    _request(b"POST /a/p", b"Content-Length: 5", b"Content-Type: text/plain", body=b"hello"),
    _request(b"POST /b/p", b"Content-Length: 0"),
    _request(b"PUT /a/none"),
    _request(b"POST /a/c", _CHUNKED, body=b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n"),
    _request(b"POST /b/c", b"Transfer-Encoding: Chunked", body=b'3;a=b;c="d"\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n'),
    _request(b"DELETE /a/d", b"Content-Length: 3", b"Expect: 100-continue", body=b"abc"),
    _request(b"GET /a/n", b"Connection: keep-alive, X-Hop", b"X-Hop: 1", b"Keep-Alive: timeout=5", b"TE: trailers"),
    _request(b"GET /b/close", b"Connection: close"),
    _request(b"GET /a/ws", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    _request(b"OPTIONS /a/o", b"Max-Forwards: 3", b"Via: 1.0 fred"),
    _request(b"PATCH /a/u", b"Content-Length: 26", b"X-Latin: caf\xe9 \xff", body=b"GET /b/inner HTTP/1.1\r\n\r\nxx"),
    _request(b"FOO /a/f", b"Content-Length: 2", b"Empty:", b"X-Dup: 1", b"X-Dup: 2", body=b"{}"),
    _request(b"GET http://127.0.0.1:4000/a/abs?x"),
    b"\r\n" + _request(b"GET /b/blank"),
    b"GET /a/old HTTP/1.0\r\n" + _HOST + b"Connection: keep-alive\r\n\r\n",
    b"POST /b/old HTTP/1.0\r\nContent-Length: 2\r\n" + _HOST + b"\r\nok",
    _request(b"POST /a/s", _CHUNKED, body=b"%x\r\n" % len(_SMUGGLED) + _SMUGGLED + b"\r\n0\r\n\r\n"),
    _request(b"POST /a/t", b"Content-Length: %d" % len(_SMUGGLED), b"Cookie: a=1; b=2", body=_SMUGGLED),
    _request(b"GET /a/proxy", b"Proxy-Authorization: Basic eA==", b"Proxy-Connection: keep-alive", b"Trailer: X"),
)


def _both(*framing: bytes, body: bytes = b"") -> bytes:
    return _request(b"POST /a/evil", *framing, body=body) + _SMUGGLED


_FIVE: Final = b"5\r\nhello\r\n0\r\n\r\n"

# By their number in the catalogue.
HOSTILE: Final[dict[str, tuple[bytes, ...]]] = {
    "D-101": (
        _both(b"Content-Length: 5", _CHUNKED, body=_FIVE),
        _both(_CHUNKED, b"Content-Length: 5", body=_FIVE),
        _both(b"Content-Length: 4", _CHUNKED, body=b"0\r\n\r\n"),
        _both(_CHUNKED, b"Content-Length: 0", body=b"0\r\n\r\n"),
    ),
    "D-102": (
        _both(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"),
        _both(b"Content-Length: 5, 6", body=b"hello!"),
        _both(b"Content-Length: 0", b"Content-Length: %d" % len(_SMUGGLED)),
    ),
    "D-103": (
        _both(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
        _both(b"Content-Length: 5, 5", body=b"hello"),
    ),
    "D-104": tuple(
        _both(b"Content-Length: " + value, body=b"hello")
        for value in (
            b"+5",
            b"-1",
            b"0x5",
            b"1_0",
            b"5 5",
            b"",
            "\u0665".encode(),
            b"18446744073709551617",
            b"5\t,",
            b"5;",
            b"\x0b5",
            b"5\x00",
            b"5.0",
            b"5e0",
            b"\xa05",
        )
    ),
    "D-105": (_both(b"Content-Length: 005", body=b"hello"), _both(b"Content-Length: 00")),
    "D-106": (
        _both(b"Content-Length : 5", body=b"hello"),
        _both(b"Transfer-Encoding : chunked", body=_FIVE),
        _both(b"Content-Length\t: 5", body=b"hello"),
    ),
    "D-107": tuple(
        _both(b"Transfer-Encoding: " + value, body=_FIVE)
        for value in (
            b"xchunked",
            b'"chunked"',
            b"chunked, identity",
            b"identity",
            b"cow",
            b"chunked;q=1",
            b"'chunked'",
        )
    ),
    "D-108": (_both(b"Transfer-Encoding: gzip, chunked", body=_FIVE),),
    "D-109": (_both(b"Transfer-Encoding: ,chunked", body=_FIVE), _both(b"Transfer-Encoding: chunked,", body=_FIVE)),
    "D-110": (
        _both(b"Transfer-Encoding:", body=_FIVE),
        _both(b"Transfer-Encoding:", b"Content-Length: 5", body=b"hello"),
    ),
    "D-111": (_both(_CHUNKED, _CHUNKED, body=_FIVE), _both(b"Transfer-Encoding: chunked, chunked", body=_FIVE)),
    "D-112": tuple(
        _both(b"Transfer-Encoding: " + value, body=_FIVE)
        for value in (b"\x0bchunked", b"chunked\x0c", b"chunked\x00", b"\xa0chunked", b"chunked\x85", b"\rchunked")
    ),
    "D-113": (
        _both(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello"),
        _both(b"Content_Length: 5", body=b"hello"),
    ),
    "D-114": (b"POST /a/evil HTTP/1.0\r\n" + _HOST + _CHUNKED + b"\r\n\r\n" + _FIVE + _SMUGGLED,),
    "D-115": tuple(
        _both(_CHUNKED, body=size + b"\r\nhello\r\n0\r\n\r\n")
        for size in (b"0x5", b"+5", b"-1", b"0_5", b" 5", b"0" * 16 + b"5", b"", b"Z", b"\xb25")
    ),
    "D-116": (
        _both(_CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"),
        _both(_CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"),
        _both(_CHUNKED, body=b"5\r\nhello\n0\r\n\r\n"),
        _both(_CHUNKED, body=b"5\r\nhello\r\n0\n\n"),
        _both(_CHUNKED, body=b"5\rhello\r\n0\r\n\r\n"),
        _both(_CHUNKED, body=b"5\r\nhello\r\n0\r\n\n"),
        _both(_CHUNKED, body=b"5\r\r\nhello\r\n0\r\n\r\n"),
    ),
    "D-117": (_both(_CHUNKED, body=b"3\r\nhello\r\n0\r\n\r\n"), _both(_CHUNKED, body=b"5\r\nhello0\r\n\r\n")),
    "D-119": tuple(
        _both(_CHUNKED, body=b"5" + extension + b"\r\nhello\r\n0\r\n\r\n")
        for extension in (b";a\nb", b";a\rb", b";a\x00", b";", b";;a", b";a=", b';a="b', b";a b", b";=b")
    ),
    "D-123": (
        _both(_CHUNKED, body=b"0\r\nContent-Length: 5\r\n\r\n"),
        _both(_CHUNKED, body=b"0\r\nTransfer-Encoding: x\r\n\r\n"),
        _both(_CHUNKED, body=b"0\r\nno colon\r\n\r\n"),
    ),
    "D-125": tuple(
        _request(b"GET /a/evil", b"X: a" + control + b"b") + _SMUGGLED
        for control in (b"\n", b"\r", b"\x00", b"\x01", b"\x1f", b"\x7f", b"\x0b", b"\nContent-Length: 40\n", b"\r\r\n")
    ),
    "D-127": (
        _request(b"GET /a/evil", b"X: a", b" folded") + _SMUGGLED,
        _request(b"GET /a/evil", b" X: a") + _SMUGGLED,
        _both(b"Transfer-Encoding:", b" chunked", body=_FIVE),
        b"GET /a/evil HTTP/1.1\r\n Host: x\r\n" + _HOST + b"\r\n" + _SMUGGLED,
    ),
    "D-128": tuple(
        _request(b"GET /a/evil", line) + _SMUGGLED
        for line in (b": a", b"no colon", b"a b: c", b"a\x85: c", b"a[]: c", b"a(b): c", b"\xff: c", b"a\x00: c")
    ),
    "D-131": (
        *tuple(
            b"GET /a/evil " + version + b"\r\n" + _HOST + b"\r\n" + _SMUGGLED
            for version in (
                b"HTTP/2.0",
                b"HTTP/1.2",
                b"http/1.1",
                b"HTTP/01.1",
                b"HTTP/1.",
                b"HTTP/1.1 ",
                b"HTTP/1.10",
                b"",
            )
        ),
        b"GET /a/evil\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
    "D-132": tuple(
        b"GET" + target + b"HTTP/1.1\r\n" + _HOST + b"\r\n" + _SMUGGLED
        for target in (
            b"  /a/evil ",
            b" /a/evil  ",
            b"\t/a/evil ",
            b" /a/evil\t",
            b" /a/e vil ",
            b" /a/\x00 ",
            b" /a/\xff ",
            b' /a/" ',
            b" /a/< ",
            b" /a/> ",
            b" /a/` ",
            b" /a/{ ",
            b" /a/} ",
            b" /a/\x7f ",
        )
    ),
    "D-133": (_request(b"GET /a/evil#fragment"), _request(b"GET /a/evil?x#y")),
    "D-137": tuple(
        b"GET /a/evil HTTP/1.1\r\n" + host + b"\r\n" + _SMUGGLED
        for host in (
            b"",
            _HOST + _HOST,
            b"Host:\r\n",
            b"Host: a, b\r\n",
            b"Host: u@127.0.0.1\r\n",
            b"Host: 127.0.0.1/x\r\n",
            b"Host: 127.0.0.1:x\r\n",
            b"Host: caf\xe9\r\n",
            b"Host : 127.0.0.1\r\n",
            b"Host: 127.0.0.1\r\nhost: evil\r\n",
        )
    ),
    "D-138": (b"\r\n" * 1000 + _SMUGGLED,),
}

# What mutators put in: lines about the framing, and other lines that proxies act on.
REQUEST_LINES: Final = (
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: 40",
    b"content-length: 5",
    b"Content-Length:5",
    b"Content-Length: 5 ",
    b"Content-Length:\t5",
    b"Content-Length: 05",
    b"Content-Length: 5,5",
    b"Content-Length: -5",
    b"Content_Length: 5",
    _CHUNKED,
    b"transfer-encoding: chunked",
    b"Transfer-Encoding:chunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding: CHUNKED",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer_Encoding: chunked",
    b"X: y\nContent-Length: 5",
    b"X: y\rContent-Length: 5",
    b"X:\x00",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: host",
    b"Connection: content-length",
    b"Connection: transfer-encoding, authorization",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAAA",
    b"Expect: 100-continue",
    b"Expect: banana",
    b"Host: 127.0.0.1:4000",
    b"Host: evil",
    b"Authorization: Bearer client-token",
    b"Authorization_: x",
    b"Proxy-Authorization: Basic eA==",
    b"Max-Forwards: 0",
    b"Via: 1.1 x",
    b"TE: trailers",
    b"Trailer: Content-Length",
    b"Keep-Alive: max=1",
    b"X-Forwarded-Host: evil",
    b" folded",
    b"\tfolded",
    b":",
    b"X-Empty:",
)
RESPONSE_LINES: Final = (
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"content-length: 7",
    b"Content-Length: 05",
    b"Content-Length: 5, 5",
    b"Content-Length: -1",
    b"Content-Length:",
    _CHUNKED,
    b"transfer-encoding: Chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: content-length",
    b"Connection: X-Secret, Upgrade",
    b"X-Secret: 1",
    b"Upgrade: websocket",
    b"Keep-Alive: timeout=1",
    b"Keep-Alive: timeout=99999999999999999999",
    b"Proxy-Authenticate: Basic",
    b"TE: x",
    b"Trailer: X",
    b"Proxy-Connection: close",
    b"Location: http://127.0.0.1:4001/there",
    b"Location: /b/\xff",
    b"Content-Location: //evil/",
    b'WWW-Authenticate: Bearer error="invalid_token"',
    b"Set-Cookie: a=b",
    b" folded",
    b"X: a\nY: b",
    b"X: a\rY: b",
    b"X:\x00",
    b"no colon",
    b"Name : x",
    b"Content-Encoding: gzip",
)


def _response(status: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


_POISON: Final = b"HTTP/1.1 200 OK\r\nX-Poison: 1\r\nContent-Length: 6\r\n\r\npoison"

RESPONSES: Final = (
    _response(b"200 OK", b"Content-Length: 5", body=b"hello"),
    _response(b"200 OK", b"Content-Length: 0"),
    _response(b"200 OK", _CHUNKED, body=b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: 1\r\n\r\n"),
    _response(b"200 OK", b"Connection: close", body=b"until the end"),
    _response(b"204 No Content"),
    _response(b"304 Not Modified", b"Content-Length: 100", b'ETag: "x"'),
    _response(b"206 Partial Content", b"Content-Length: 5", b"Content-Range: bytes 0-4/9", body=b"hello"),
    _response(b"404 Not Found", b"Content-Type: text/html", b"Content-Length: 2", body=b"no"),
    _response(b"500", b"Content-Length: 2", body=b"ow"),
    _response(b"100 Continue") + _response(b"200 OK", b"Content-Length: 2", body=b"ok"),
    _response(b"103 Early Hints", b"Link: </x>; rel=preload")
    + _response(b"200 OK", _CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"),
    _response(b"301 Moved", b"Location: http://127.0.0.1:4001/x", b"Content-Length: 0"),
    _response(
        b"200 OK",
        b"Connection: X-Hop, keep-alive",
        b"X-Hop: 1",
        b"Keep-Alive: timeout=9",
        b"Content-Length: 1",
        body=b"x",
    ),
    _response(b"200 \xc3\xa9t\xe9", b"X-Latin: \xff", b"Content-Length: %d" % len(_POISON), body=_POISON),
    b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nold",
    b"HTTP/1.0 200 OK\r\n\r\nold until the end",
    _response(b"101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: websocket", body=b"\x81\x00"),
    _response(
        b"401 Unauthorized", b'WWW-Authenticate: Bearer error="insufficient_scope"', b"Content-Length: 2", body=b"no"
    ),
    _response(
        b"413 Too Large",
        _CHUNKED,
        b"Set-Cookie: a=b",
        b"Set-Cookie: c=d",
        body=b"%x\r\n" % len(_POISON) + _POISON + b"\r\n0\r\n\r\n",
    ),
)

# By their number in the catalogue: never relayed whole.
HOSTILE_RESPONSES: Final[dict[str, tuple[bytes, ...]]] = {
    "P-201": (
        _response(b"200 OK", b"Content-Length: 5", _CHUNKED, body=_FIVE),
        _response(b"200 OK", _CHUNKED, b"Content-Length: 0", body=_FIVE),
    ),
    "P-202": tuple(
        _response(b"200 OK", *lines, body=b"hello")
        for lines in (
            (b"Content-Length: 5", b"Content-Length: 2"),
            (b"Content-Length: 5", b"Content-Length: 5"),
            (b"Content-Length: -2",),
            (b"Content-Length: +5",),
            (b"Content-Length:",),
            (b"Content-Length: 5, 5",),
            (b"Content-Length: 5 5",),
        )
    ),
    "P-203": (
        _response(b"200 OK", b"X: a\x00b", b"Content-Length: 0"),
        _response(b"200 OK", b"X: a\rb", b"Content-Length: 0"),
        _response(b"200 O\rK", b"Content-Length: 0"),
    ),
    "P-204": (_response(b"200 OK", b"X: a\x01b", b"Content-Length: 0"),),
    "P-205": (_response(b"200 OK", b"X: a", b" folded", b"Content-Length: 0"),),
    "P-206": (_response(b"200 OK", b"X: a\nContent-Length: 0"), b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    "P-207": (
        _response(b"200 OK", b": a"),
        _response(b"200 OK", b"no colon"),
        _response(b"200 OK", b"Content-Length : 0"),
    ),
    "P-208": (
        *tuple(
            _response(b"200 OK", b"Transfer-Encoding: " + coding, body=_FIVE)
            for coding in (b"xchunked", b"gzip, chunked", b"chunked, chunked", b"", b"chunked;x", b"identity")
        ),
        _response(b"200 OK", _CHUNKED, _CHUNKED, body=_FIVE),
    ),
    "P-209": (
        _response(b"200 OK", _CHUNKED, body=b"ZZ\r\n"),
        _response(b"200 OK", _CHUNKED, body=b"3\r\nhello\r\n0\r\n\r\n"),
    ),
    "P-210": (_response(b"200 OK", _CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"),),
    "P-211": tuple(
        _response(status, b"Content-Length: 0") for status in (b"99 x", b"1000 x", b"abc", b"20 x", b"099 x")
    ),
    "P-212": (
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"hello",
        b"\x16\x03\x01\x00\x05",
        b"SSH-2.0-x\r\n",
        b"ICY 200 OK\r\n\r\n",
    ),
}
POISON: Final = _POISON
