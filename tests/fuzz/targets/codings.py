"""Content codings undone: within bounds, whatever comes, and to what Python's own modules make of it."""

from __future__ import annotations

import gzip
import zlib
from typing import Final

import brotli
import zstandard

from proxy.exchange.codings import RATIO_MAX, codings_of, decoded
from proxy.exchange.document import UnreadableError
from tests.fuzz.targets import Target

_NAMES: Final = (
    b"gzip",
    b"deflate",
    b"br",
    b"zstd",
    b"x-gzip",
    b"gzip, gzip",
    b"br, deflate",
    b"cow",
    b"identity",
    b"zstd, gzip",
)
_LIMIT: Final = 32 * 1024


def check(data: bytes) -> None:
    """Take the first byte for the codings, the rest for the body."""
    names, body = _NAMES[(data + b"\0")[0] % len(_NAMES)], data[1:]
    codings = codings_of([names])
    try:
        found = decoded(body, codings, _LIMIT)
    except UnreadableError as error:
        assert error.reason
        return
    assert len(found) <= min(_LIMIT, RATIO_MAX * len(body)) or not codings, "it grew beyond its bound"
    if codings in ((b"gzip",), (b"x-gzip",)):
        assert gzip.decompress(body) == found
    elif codings == (b"br",):
        assert brotli.decompress(body) == found


_TEXT: Final = b'{"error": "expired"}'
_ONES: Final = b"1" * 60_000
TARGET: Final = Target(
    "only UnreadableError; at most the limit and a hundred times the input; gzip and brotli agree",
    check,
    (
        b"\0" + gzip.compress(_TEXT, mtime=0),
        b"\1" + zlib.compress(_TEXT),
        b"\1" + zlib.compress(_TEXT)[2:-4],
        b"\2" + brotli.compress(_TEXT),
        b"\3" + zstandard.compress(_TEXT),
        b"\5" + gzip.compress(gzip.compress(_TEXT, mtime=0), mtime=0),
        b"\0" + gzip.compress(_ONES, mtime=0),
        b"\3" + zstandard.compress(_ONES),
        b"\2" + brotli.compress(_ONES),
        b"\0" + gzip.compress(_TEXT, mtime=0) * 2,
        b"\7x",
        b"\x08x",
        b"\0",
        b"\6" + zlib.compress(brotli.compress(_TEXT)),
        b"\x09" + gzip.compress(zstandard.compress(_TEXT), mtime=0),
    ),
)
