"""Content codings undone within bounds: gzip, deflate, br, zstd, also one over the other. Pure.

What is decoded here is only looked at; the application gets the bytes as they came.
"""

from __future__ import annotations

import io
import zlib
from typing import Final

from proxy.exchange.document import Unread, UnreadableError

# Text seldom shrinks to a twentieth; a stream that grows a hundredfold is made to (CVE-2026-48044, P-240).
RATIO_MAX: Final = 100
# Nobody codes more than twice on purpose, and each coding is work.
CODINGS_MAX: Final = 4
_WINDOW_MAX: Final = 8 * 1024 * 1024  # RFC 9659 §3: no zstd content coding may ask for more memory
# How a brotli stream begins that asks for a window of 8 or 16 MiB (RFC 7932 §9.1). A decoder fills its window before it
# hands out a byte: 158 bytes cost 16 MiB and 36 ms. Encoders use 4 MiB at most unless they are told otherwise.
_WIDE_BROTLI: Final = frozenset((0b1101, 0b1111))


def codings_of(values: list[bytes]) -> tuple[bytes, ...]:
    """Return the codings that `Content-Encoding` fields name, in the order in which they were applied."""
    names = (name.strip(b" \t").lower() for value in values for name in value.split(b","))
    return tuple(name for name in names if name not in {b"", b"identity"})


def decoded(body: bytes, codings: tuple[bytes, ...], limit: int) -> bytes:
    """Undo the codings, the last one first; `limit` is in bytes and holds after each of them.

    Raises `UnreadableError`: a coding that is unknown, a body that is not in it, broken off or followed by something
    else, or one that grows too large.
    """
    if len(codings) > CODINGS_MAX:
        raise UnreadableError(Unread.CODING)
    limit = min(limit, RATIO_MAX * len(body))
    for coding in reversed(codings):
        match coding:
            case b"gzip" | b"x-gzip":
                body = _gunzipped(body, limit)
            case b"deflate":
                window = zlib.MAX_WBITS if _has_zlib_header(body) else -zlib.MAX_WBITS
                body, rest = _inflated(body, limit, window)
                if rest:
                    raise UnreadableError(Unread.CODING)
            case b"br":
                body = _from_brotli(body, limit)
            case b"zstd":
                body = _from_zstd(body, limit)
            case _:
                raise UnreadableError(Unread.CODING)
        if len(body) > limit:
            raise UnreadableError(Unread.DECODED_SIZE)
    return body


def _has_zlib_header(body: bytes) -> bool:
    """RFC 1950 §2.2. RFC 9110 §8.4.1.2 means this form; some servers send the bare stream (RFC 1951)."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _gunzipped(body: bytes, limit: int) -> bytes:
    plain = b""
    while body:  # members may follow each other (RFC 1952 §2.2)
        member, body = _inflated(body, limit - len(plain), zlib.MAX_WBITS | 16)
        plain += member
    return plain


def _inflated(body: bytes, limit: int, window: int) -> tuple[bytes, bytes]:
    """Return the plain bytes and what follows the stream."""
    stream = zlib.decompressobj(window)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise UnreadableError(Unread.CODING) from error
    if len(plain) > limit:
        raise UnreadableError(Unread.DECODED_SIZE)
    if not stream.eof:
        raise UnreadableError(Unread.CODING)
    return plain, stream.unused_data


def _from_brotli(body: bytes, limit: int) -> bytes:
    import brotli

    if body and body[0] & 0b1111 in _WIDE_BROTLI:
        raise UnreadableError(Unread.CODING)
    stream = brotli.Decompressor()
    plain = b""
    try:
        while not stream.is_finished():
            piece = stream.process(body, output_buffer_limit=limit + 1 - len(plain))
            plain += piece
            if len(plain) > limit:
                raise UnreadableError(Unread.DECODED_SIZE)
            if not piece and not body:
                raise UnreadableError(Unread.CODING)  # it breaks off
            body = b""
    except brotli.error as error:
        raise UnreadableError(Unread.CODING) from error
    return plain


def _from_zstd(body: bytes, limit: int) -> bytes:
    import zstandard

    plain = b""
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX).stream_reader(
        io.BytesIO(body), read_across_frames=True
    )
    try:
        while len(plain) <= limit and (piece := reader.read(limit + 1 - len(plain))):
            plain += piece
    except zstandard.ZstdError as error:
        raise UnreadableError(Unread.CODING) from error
    if not plain:
        raise UnreadableError(Unread.CODING)
    return plain
