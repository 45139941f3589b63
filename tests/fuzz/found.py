"""Mutants that once broke a rule, as small as they were made; each stays a test."""

from __future__ import annotations

from typing import Final

from tests.fuzz.campaign import Mutant, Poison
from tests.fuzz.poison import ASKED

_GET, _UPGRADE = ASKED[0], ASKED[6]

FOUND: Final[dict[str, Mutant | Poison]] = {
    # Node's llhttp refuses such a request, h11 and a newer llhttp take it.
    "a tab behind a length": Mutant(
        "reverse", (b"POST /a/t HTTP/1.1\r\nHost: 127.0.0.1:4000\r\nContent-Length: 2\t\r\n\r\nok",)
    ),
    "a tab behind a length, in a response": Poison(_GET, (b"HTTP/1.1 304 No\r\nContent-Length: 1 \t\r\n\r\n",), "fin"),
    # llhttp takes it for a body that lasts until the end of the stream.
    "a tab behind the coding of a response": Poison(
        _GET, (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked \t\r\n\r\n2\r\nok\r\n0\r\n\r\n",), "open"
    ),
    # llhttp stops reading at an upgrade, so nobody looked at the lines.
    "a 101 with a line that is none": Poison(
        _UPGRADE, (b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nno colon\r\n\r\n",), "fin"
    ),
    "a 101 with a space before the colon": Poison(
        _UPGRADE, (b"HTTP/1.1 101 S\r\nName : x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",), "fin"
    ),
    # It waited for `limits.body_idle`, and an upstream with it.
    "a body that ends too early, and came ahead": Mutant(
        "reverse",
        (
            b"GET /a/n HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\r\n",
            b"POST /a/x HTTP/1.1\r\nHost: 127.0.0.1:4000\r\nContent-Length: 5\r\n\r\n",
        ),
        at_once=True,
    ),
    # A packet may end within the blank line.
    "half a blank line": Mutant("reverse", (b"\r", b"\nGET /b/blank HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\r\n")),
}
